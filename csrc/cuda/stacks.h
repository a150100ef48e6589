// What the two stacks (gated_residual_stack.cpp, glu_residual_stack.cpp) share on their way from the public calls to
// the layers' kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "cuda/errors.h"
#include "cuda/usable_device.h"
#include "musicstar/cuda_stacks.h"

namespace musicstar::cuda {

UsableDevice current_device();
inline int compute_capability(const UsableDevice& device) { return device.major * 10 + device.minor; }

// Calls `work` with a value of the element's type.
template <typename Work>
void with_element(Element element, Work work) {
  if (element == Element::kFloat32) {
    work(float{});
  } else {
    work(__nv_bfloat16{});
  }
}

inline void fill_zero(void* data, std::int64_t bytes, cudaStream_t stream) {
  if (bytes > 0) check(cudaMemsetAsync(data, 0, static_cast<std::size_t>(bytes), stream), "filling with zeros");
}

[[noreturn]] void refuse_path(Element element, StackPath asked, const UsableDevice& device);

// The fastest path that takes the sizes (`supported`: a predicate on a path and a compute capability), or the one asked
// for. Throws std::invalid_argument where that does not take them.
template <typename Supported>
StackPath choose_path(Element element, StackPath asked, Supported supported) {
  const UsableDevice device = current_device();
  const auto takes = [&](StackPath path) {
    return path == StackPath::kGeneral ||
           (element == Element::kBfloat16 && supported(path, compute_capability(device)));
  };
  if (asked == StackPath::kAutomatic) {
    for (const StackPath path : {StackPath::kWgmma, StackPath::kMma}) {
      if (takes(path)) return path;
    }
    return StackPath::kGeneral;
  }
  if (!takes(asked)) refuse_path(element, asked, device);
  return asked;
}

}  // namespace musicstar::cuda
