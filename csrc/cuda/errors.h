// From the status of a CUDA call to an exception.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "musicstar/cuda_errors.h"

namespace musicstar::cuda {

// Throws Error: "<what>: <what CUDA says>".
inline void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // leave no error behind for the next caller
  throw Error(what + ": " + cudaGetErrorString(status));
}
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) check(status, std::string(what));
}

}  // namespace musicstar::cuda
