#include "emulated_gpu/tensor_maps.h"

#include <cuda_runtime.h>

#include <cstring>

#include "emulated_gpu/machine.h"

namespace musicstar::emulated_gpu {

namespace {

constexpr std::uint64_t kMark = 0x74656e736f726d70ull;

struct Contents {
  std::uint64_t mark;
  char* data;
  std::int64_t sizes[3];
  std::int64_t strides[2];
  int box[3];
  int span;
};
static_assert(sizeof(Contents) <= sizeof(CUtensorMap));

}  // namespace

template <typename Move>
void Box::for_each_element(std::uintptr_t shared, Move&& move) const {
  std::uintptr_t linear = shared;
  for (int z = 0; z < box[2]; ++z) {
    for (int y = 0; y < box[1]; ++y) {
      for (int x = 0; x < box[0]; ++x, linear += 2) {
        const std::int64_t at[3] = {first[0] + x, first[1] + y, first[2] + z};
        const bool inside =
            at[0] >= 0 && at[0] < sizes[0] && at[1] >= 0 && at[1] < sizes[1] && at[2] >= 0 && at[2] < sizes[2];
        char* element = inside ? data + at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2] : nullptr;
        move(reinterpret_cast<char*>(swizzled(linear, span)), element);
      }
    }
  }
}

void Box::load(char* shared) const {
  for_each_element(reinterpret_cast<std::uintptr_t>(shared), [](char* place, const char* element) {
    if (element) {
      std::memcpy(place, element, 2);
    } else {
      std::memset(place, 0, 2);
    }
  });
}

void Box::store(const char* shared) const {
  for_each_element(reinterpret_cast<std::uintptr_t>(shared), [](const char* place, char* element) {
    if (element) std::memcpy(element, place, 2);
  });
}

Box box_at(const CUtensorMap& map, int x, int y, int z) {
  check_aligned(&map, 64, "a tensor map");
  Contents contents;
  std::memcpy(&contents, &map, sizeof contents);
  if (contents.mark != kMark) fault("what is used as a tensor map is none");
  Box box;
  box.data = contents.data;
  for (int i = 0; i < 3; ++i) {
    box.sizes[i] = contents.sizes[i];
    box.strides[i] = i == 0 ? 2 : contents.strides[i - 1];
    box.box[i] = contents.box[i];
  }
  box.first[0] = x;
  box.first[1] = y;
  box.first[2] = z;
  box.span = static_cast<std::size_t>(contents.span);
  return box;
}

}  // namespace musicstar::emulated_gpu

using musicstar::emulated_gpu::Contents;

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                                const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 || rank != 3 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!data || reinterpret_cast<std::uintptr_t>(data) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  Contents contents = {};
  contents.mark = musicstar::emulated_gpu::kMark;
  contents.data = static_cast<char*>(data);
  contents.span = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : 16 << static_cast<int>(swizzle);
  for (int i = 0; i < 3; ++i) {
    if (sizes[i] == 0 || sizes[i] > cuuint64_t{1} << 32) return CUDA_ERROR_INVALID_VALUE;
    if (box[i] == 0 || box[i] > 256 || steps[i] != 1) return CUDA_ERROR_INVALID_VALUE;
    contents.sizes[i] = static_cast<std::int64_t>(sizes[i]);
    contents.box[i] = static_cast<int>(box[i]);
    if (i == 2) break;
    if (strides[i] % 16 != 0 || strides[i] >= cuuint64_t{1} << 40) return CUDA_ERROR_INVALID_VALUE;
    contents.strides[i] = static_cast<std::int64_t>(strides[i]);
  }
  const std::size_t row = std::size_t{2} * box[0];
  if (row % 16 != 0 || (contents.span != 0 && row > static_cast<std::size_t>(contents.span))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &contents, sizeof contents);
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  const bool known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(cuTensorMapEncodeTiled) : nullptr;
  *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
