#include <cuda_runtime.h>

#include <stdexcept>

#include "musicstar/cuda_devices.h"

namespace musicstar::cuda {

namespace {

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // leave no error behind for the next caller
  throw std::runtime_error(std::string("no usable GPU: ") + cudaGetErrorString(status));
}

}  // namespace

#ifdef MUSICSTAR_EMULATED_GPU
constexpr bool kEmulated = true;
std::string build_description() { return "emulated"; }
#else
constexpr bool kEmulated = false;
std::string build_description() {
  return "CUDA " + std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) + " for " +
         MUSICSTAR_CUDA_ARCHITECTURES;
}
#endif

std::vector<Device> devices() {
  int driver = 0;
  check(cudaDriverGetVersion(&driver));
  if (driver == 0) throw std::runtime_error("no usable GPU: no NVIDIA driver is installed");
  int count = 0;
  check(cudaGetDeviceCount(&count));
  std::vector<Device> found;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, i));
    found.push_back({i, properties.name, properties.major, properties.minor,
                     static_cast<std::int64_t>(properties.totalGlobalMem), kEmulated});
  }
  if (found.empty()) throw std::runtime_error("no usable GPU: the driver lists none");
  return found;
}

}  // namespace musicstar::cuda
