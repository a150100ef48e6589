#include "cuda/launch.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace musicstar::cuda {

namespace {

constexpr std::size_t kSharedWithoutAsking = 48 * 1024;
constexpr unsigned kClusterWithoutAsking = 8;

unsigned count(const dim3& shape) { return shape.x * shape.y * shape.z; }

std::string text_of(const dim3& shape) {
  std::string text = std::to_string(shape.x);
  if (shape.y * shape.z != 1) text += "x" + std::to_string(shape.y);
  if (shape.z != 1) text += "x" + std::to_string(shape.z);
  return text;
}

std::string describe(const void* kernel, const LaunchShape& shape) {
  std::string text = "launching " + name_of_kernel(kernel) + " with " + text_of(shape.grid) + " blocks of " +
                     text_of(shape.block) + " threads, " + std::to_string(shape.shared_bytes) +
                     " bytes of shared memory";
  if (count(shape.cluster) != 1) text += ", clusters of " + text_of(shape.cluster);
  if (shape.cooperative) text += ", all at once";
  return text;
}

// The attributes live as long as this object.
struct Configuration {
  Configuration(const LaunchShape& shape, cudaStream_t stream) {
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = 0;
    if (count(shape.cluster) != 1) {
      cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim.x = shape.cluster.x;
      attribute.val.clusterDim.y = shape.cluster.y;
      attribute.val.clusterDim.z = shape.cluster.z;
    }
    if (shape.cooperative) {
      cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
      attribute.id = cudaLaunchAttributeCooperative;
      attribute.val.cooperative = 1;
    }
  }
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attributes[2] = {};
};

struct Prepared {
  std::size_t shared_bytes = kSharedWithoutAsking;
  unsigned cluster = kClusterWithoutAsking;
};

}  // namespace

std::string name_of_kernel(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || !mangled) {
    cudaGetLastError();
    return "a kernel";
  }
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return status == 0 && name ? name.get() : mangled;
}

void prepare_kernel(const void* kernel, const LaunchShape& shape) {
  if (shape.shared_bytes <= kSharedWithoutAsking && count(shape.cluster) <= kClusterWithoutAsking) return;
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, Prepared> prepared_kernels;
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current GPU");
  const std::lock_guard<std::mutex> lock(mutex);
  Prepared& prepared = prepared_kernels[{kernel, device}];
  if (shape.shared_bytes > prepared.shared_bytes) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared_bytes));
    if (status != cudaSuccess) check(status, "asking for shared memory: " + describe(kernel, shape));
    prepared.shared_bytes = shape.shared_bytes;
  }
  if (count(shape.cluster) > prepared.cluster) {
    const cudaError_t status = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (status != cudaSuccess) check(status, "asking for large clusters: " + describe(kernel, shape));
    prepared.cluster = 16;
  }
}

void launch_prepared(const void* kernel, const LaunchShape& shape, cudaStream_t stream, void** arguments) {
  prepare_kernel(kernel, shape);
  const Configuration configuration(shape, stream);
  const cudaError_t status = cudaLaunchKernelExC(&configuration.config, kernel, arguments);
  if (status != cudaSuccess) check(status, describe(kernel, shape));
}

int blocks_at_once(const void* kernel, const LaunchShape& shape) {
  prepare_kernel(kernel, shape);
  const unsigned cluster = count(shape.cluster);
  int blocks = 0;
  if (cluster > 1) {
    const Configuration configuration(shape, nullptr);
    int clusters = 0;
    const cudaError_t status = cudaOccupancyMaxActiveClusters(&clusters, kernel, &configuration.config);
    if (status == cudaErrorInvalidClusterSize || status == cudaErrorInvalidConfiguration) {
      cudaGetLastError();  // no cluster of this size runs here
      return 0;
    }
    check(status, "asking how many clusters fit");
    blocks = clusters * static_cast<int>(cluster);
  } else {
    int device = 0, multiprocessors = 0, per_multiprocessor = 0;
    check(cudaGetDevice(&device), "asking for the current GPU");
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "asking for its size");
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel,
                                                        static_cast<int>(count(shape.block)), shape.shared_bytes),
          "asking how many blocks fit");
    blocks = multiprocessors * per_multiprocessor;
  }
  return std::min(blocks, static_cast<int>(count(shape.grid)));
}

}  // namespace musicstar::cuda
