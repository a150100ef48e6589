// Launches: what CUDA checks of their shape, and the kernels' names.
#include <cxxabi.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "emulated_gpu/launch_log.h"
#include "emulated_gpu/runtime.h"
#include "emulated_gpu/settings.h"

namespace musicstar::emulated_gpu {

namespace {

struct Kernel {
  BindKernel bind = nullptr;
  std::size_t most_shared = 48 * 1024;
  bool large_clusters = false;
};

std::map<const void*, Kernel>& kernels() {
  static std::map<const void*, Kernel> all;
  return all;
}

using Lock = std::lock_guard<std::recursive_mutex>;

std::string readable_name(const void* kernel) {
  const char* mangled = symbol_at(kernel);
  if (!mangled) return "a kernel";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return status == 0 && name ? name.get() : mangled;
}

std::uint64_t count(const dim3& shape) { return std::uint64_t{shape.x} * shape.y * shape.z; }

int blocks_per_multiprocessor(std::uint64_t threads, std::size_t shared_bytes) {
  if (threads == 0 || threads > 1024 || shared_bytes > kSharedWindow) return 0;
  const std::uint64_t by_threads = 2048 / ((threads + kLanes - 1) / kLanes * kLanes);
  const std::uint64_t by_shared = 228 * 1024 / (shared_bytes + 1024);
  return static_cast<int>(std::min({std::uint64_t{32}, by_threads, by_shared}));
}

}  // namespace

void remember_kernel(const void* kernel, BindKernel bind) {
  const Lock lock(runtime_mutex);
  kernels()[kernel].bind = bind;
}

}  // namespace musicstar::emulated_gpu

using namespace musicstar::emulated_gpu;

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const Lock lock(runtime_mutex);
  switch (attribute) {
    case cudaFuncAttributeMaxDynamicSharedMemorySize:
      if (value < 0 || static_cast<std::size_t>(value) > kSharedWindow) return report(cudaErrorInvalidValue);
      kernels()[kernel].most_shared = static_cast<std::size_t>(value);
      return cudaSuccess;
    case cudaFuncAttributeNonPortableClusterSizeAllowed:
      kernels()[kernel].large_clusters = value != 0;
      return cudaSuccess;
    case cudaFuncAttributePreferredSharedMemoryCarveout:
      return cudaSuccess;
  }
  return report(cudaErrorInvalidValue);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  const Lock lock(runtime_mutex);
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->binaryVersion = 10 * settings().major + settings().minor;
  attributes->ptxVersion = attributes->binaryVersion;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(kernels()[kernel].most_shared);
  return cudaSuccess;
}

cudaError_t cudaFuncGetName(const char** name, const void* kernel) {
  *name = symbol_at(kernel);
  return *name ? cudaSuccess : report(cudaErrorInvalidValue);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads,
                                                          std::size_t shared_bytes) {
  *blocks = blocks_per_multiprocessor(static_cast<std::uint64_t>(std::max(threads, 0)), shared_bytes);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*, const cudaLaunchConfig_t* config) {
  std::uint64_t members = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const auto& attribute = config->attrs[i];
    if (attribute.id != cudaLaunchAttributeClusterDimension) continue;
    const auto& shape = attribute.val.clusterDim;
    members = std::uint64_t{shape.x} * shape.y * shape.z;
  }
  // A cluster lies within one group of multiprocessors; there are up to 16 in each.
  const std::uint64_t each =
      static_cast<std::uint64_t>(blocks_per_multiprocessor(count(config->blockDim), config->dynamicSmemBytes));
  std::uint64_t found = 0;
  for (int first = 0; first < settings().multiprocessors; first += 16) {
    found += static_cast<std::uint64_t>(std::min(16, settings().multiprocessors - first)) * each / members;
  }
  *clusters = static_cast<int>(found);
  return cudaSuccess;
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void** arguments) {
  const Lock lock(runtime_mutex);
  const auto found = kernels().find(kernel);
  if (found == kernels().end() || !found->second.bind) return report(cudaErrorInvalidValue);
  auto launch = std::make_shared<Launch>();
  launch->grid = config->gridDim;
  launch->block = config->blockDim;
  launch->shared_bytes = config->dynamicSmemBytes;
  bool cooperative = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const auto& attribute = config->attrs[i];
    if (attribute.id == cudaLaunchAttributeCooperative) cooperative = attribute.val.cooperative != 0;
    if (attribute.id == cudaLaunchAttributeClusterDimension) {
      const auto& shape = attribute.val.clusterDim;
      launch->cluster = dim3(shape.x, shape.y, shape.z);
    }
  }
  const dim3& grid = launch->grid;
  const dim3& block = launch->block;
  const dim3& cluster = launch->cluster;
  const std::uint64_t members = count(cluster);
  if (count(grid) == 0 || count(block) == 0 || count(block) > 1024 || block.z > 64 || grid.x > 0x7fffffffu ||
      grid.y > 65535 || grid.z > 65535) {
    return report(cudaErrorInvalidConfiguration);
  }
  if (members == 0 || members > (found->second.large_clusters ? 16u : 8u) || grid.x % cluster.x != 0 ||
      grid.y % cluster.y != 0 || grid.z % cluster.z != 0 || (members > 1 && settings().major < 9)) {
    return report(cudaErrorInvalidConfiguration);
  }
  if (launch->shared_bytes > found->second.most_shared) return report(cudaErrorInvalidValue);
  int clusters = 0;
  cudaOccupancyMaxActiveClusters(&clusters, kernel, config);
  if (clusters == 0) return report(cudaErrorInvalidConfiguration);
  if (cooperative) {
    const std::uint64_t at_once =
        members > 1 ? static_cast<std::uint64_t>(clusters) * members
                    : static_cast<std::uint64_t>(blocks_per_multiprocessor(count(block), launch->shared_bytes)) *
                          static_cast<std::uint64_t>(settings().multiprocessors);
    if (count(grid) > at_once) return report(cudaErrorCooperativeLaunchTooLarge);
  }
  launch->run = found->second.bind(kernel, arguments);
  log_launch(symbol_at(kernel), count(block), launch->shared_bytes);
  enqueue(config->stream, [launch, kernel, cooperative] {
    const std::string mistake = machine.run(*launch, cooperative);
    if (!mistake.empty()) fail(readable_name(kernel) + ": " + mistake);
  });
  return failure();
}
