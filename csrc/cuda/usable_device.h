// A GPU that the engines can use, and what of it they choose by.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "cuda/errors.h"

namespace musicstar::cuda {

struct UsableDevice {
  int index = 0;
  int major = 0, minor = 0;       // compute capability
  std::int64_t shared_limit = 0;  // bytes of shared memory that a block may ask for
  int multiprocessors = 0;
};

// Throws Error, one line: no driver, no such device, or one below compute capability 8.0.
inline UsableDevice usable_device(int index) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "looking for GPUs");
  if (index < 0 || index >= count) {
    throw Error("there is no GPU " + std::to_string(index) + ": this machine has " + std::to_string(count) +
                ", counted from 0");
  }
  const auto attribute = [&](cudaDeviceAttr name) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, name, index), "asking what the GPU has");
    return value;
  };
  UsableDevice device;
  device.index = index;
  device.major = attribute(cudaDevAttrComputeCapabilityMajor);
  device.minor = attribute(cudaDevAttrComputeCapabilityMinor);
  device.shared_limit = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  device.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
  if (device.major < 8) {
    throw Error("GPU " + std::to_string(index) + " has compute capability " + std::to_string(device.major) + "." +
                std::to_string(device.minor) + ", and 8.0 is the least that can be used");
  }
  return device;
}

}  // namespace musicstar::cuda
