// The one way in which kernels are launched: shape, attributes and shared memory in one place, the status checked, the
// kernel named when something is wrong.
//
//   launch(scale_kernel<float>, LaunchShape{dim3(blocks), dim3(256)}, stream, input, output, n);
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

#include "cuda/errors.h"

namespace musicstar::cuda {

struct LaunchShape {
  dim3 grid = 1;
  dim3 block = 1;
  std::size_t shared_bytes = 0;  // dynamic
  dim3 cluster = 1;              // blocks of a cluster; divides the grid
  bool cooperative = false;      // all blocks run at the same time, or the launch fails
};

// The kernel's name as a reader knows it.
std::string name_of_kernel(const void* kernel);

// Makes `kernel` fit for launches of this shape on the current device: shared memory beyond 48 KiB and clusters of more
// than eight blocks are asked for once. Throws Error where the device cannot.
void prepare_kernel(const void* kernel, const LaunchShape& shape);

// Throws Error: "launching <kernel> ...: <what CUDA says>".
void launch_prepared(const void* kernel, const LaunchShape& shape, cudaStream_t stream, void** arguments);

// How many blocks of this shape run at the same time on the current device (clusters: whole clusters), at most the
// grid's worth: what a cooperative launch or a kernel whose blocks wait for one another may have.
int blocks_at_once(const void* kernel, const LaunchShape& shape);

// A grid without blocks is not launched.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "one argument for each of the kernel's parameters");
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
#ifdef MUSICSTAR_EMULATED_GPU
  emulated_gpu::remember_kernel(kernel);  // how to call what is launched by address alone
#endif
  std::apply(
      [&](auto&... each) {
        void* pointers[sizeof...(Parameters) + 1] = {const_cast<void*>(static_cast<const volatile void*>(&each))...,
                                                     nullptr};
        launch_prepared(reinterpret_cast<const void*>(kernel), shape, stream, pointers);
      },
      values);
}

}  // namespace musicstar::cuda
