#include "cuda/tensor_map.h"

#include <string>

namespace musicstar::cuda {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function, without linking the driver's library.
Encode encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  check(status, "asking the driver for tensor maps");
  if (found != cudaDriverEntryPointSuccess || !function) {
    throw Error("the NVIDIA driver has no tensor maps: it must be of CUDA 12.0 or later");
  }
  return reinterpret_cast<Encode>(function);
}

CUtensorMapSwizzle driver_swizzle(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::k128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    case Swizzle::k64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case Swizzle::k32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

}  // namespace

CUtensorMap make_tensor_map_3d(const void* data, const TensorShape& shape, Swizzle swizzle) {
  static const Encode encode = encode_function();
  constexpr std::int64_t kElement = 2;
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(shape.x), static_cast<cuuint64_t>(shape.y),
                               static_cast<cuuint64_t>(shape.z)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(shape.stride_y * kElement),
                                 static_cast<cuuint64_t>(shape.stride_z * kElement)};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(shape.box_x), static_cast<cuuint32_t>(shape.box_y),
                             static_cast<cuuint32_t>(shape.box_z)};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map = {};
  const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), sizes, strides,
                                 box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, driver_swizzle(swizzle),
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error("the driver refuses the tensor map of [" + std::to_string(shape.z) + "][" + std::to_string(shape.y) +
                "][" + std::to_string(shape.x) + "] with boxes of [" + std::to_string(shape.box_z) + "][" +
                std::to_string(shape.box_y) + "][" + std::to_string(shape.box_x) + "] (error " +
                std::to_string(static_cast<int>(result)) + ")");
  }
  return map;
}

}  // namespace musicstar::cuda
