// Tensor maps: what tensor copies (instructions/mbarriers.cuh) know about an array in device memory.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/errors.h"
#include "cuda/instructions/wgmma.cuh"

namespace musicstar::cuda {

// An array of bf16 [z][y][x], x contiguous, whose boxes of [box_z][box_y][box_x] elements are copied.
struct TensorShape {
  std::int64_t x = 0, y = 0, z = 1;
  std::int64_t stride_y = 0, stride_z = 0;  // in elements; multiples of 8
  int box_x = 0, box_y = 0, box_z = 1;      // at most 256 each; box_x elements at most the swizzle's bytes
};

// Describes the array at `data` (device memory, aligned to 16 bytes) to tensor copies; elements outside it are read as
// zero and never written. A box arrives as [box_z][box_y] rows of box_x elements, the pieces of 16 bytes permuted as
// `swizzle` says (instructions/wgmma.cuh). The map is passed to a kernel as a `const __grid_constant__ CUtensorMap`.
// Throws Error where the driver lacks tensor maps or refuses the shape.
CUtensorMap make_tensor_map_3d(const void* data, const TensorShape& shape, Swizzle swizzle);

}  // namespace musicstar::cuda
