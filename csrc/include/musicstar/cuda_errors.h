// What goes wrong on a GPU, as exceptions with one line each: for callers that know nothing of CUDA.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace musicstar::cuda {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// So many bytes of device memory were asked for and are not to be had.
struct OutOfMemory : Error {
  explicit OutOfMemory(std::int64_t asked_bytes)
      : Error("the GPU's memory does not suffice: " + std::to_string(asked_bytes) + " bytes more were asked for"),
        bytes(asked_bytes) {}
  std::int64_t bytes;
};

}  // namespace musicstar::cuda
