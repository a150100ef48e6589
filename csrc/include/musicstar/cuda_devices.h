// What CUDA offers on this machine. Present in every build, so that a module compiled with CUDA imports and answers on
// a machine without a GPU or a driver, and one compiled without CUDA says so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace musicstar::cuda {

struct Device {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  std::int64_t memory_bytes = 0;
  bool emulated = false;  // not a GPU at all: kernels run on the processor, for tests
};

// "CUDA 13.0 for 80;90a", "emulated" where the processor plays the GPU (csrc/emulated_gpu), or empty without CUDA.
std::string build_description();

// Throws std::runtime_error with one line that says why there is none: no CUDA in the build, no driver, no device.
std::vector<Device> devices();

}  // namespace musicstar::cuda
