// How the residual stacks lay out memory: padded rows, packed weights, and buffers carved out of one block.
#pragma once

#include <cstdint>

#include "cpu/stack_kernels.h"

namespace musicstar::cpu {

constexpr std::int64_t kLineFloats = 16;  // a cache line

inline std::int64_t padded(std::int64_t floats, std::int64_t width) { return (floats + width - 1) / width * width; }

// A row stride of at least `floats` whose rows spread over the sets of a cache: the rows of a span begin on all of
// them, where a stride of many cache lines and a power of two would have them fall on a few.
inline std::int64_t scattered(std::int64_t floats) {
  const std::int64_t lines = (floats + kLineFloats - 1) / kLineFloats;
  return (lines % 4 == 0 ? lines + 1 : lines) * kLineFloats;
}

// Cuts buffers of floats out of a block, each on a cache line; without a block it only counts.
class Carver {
 public:
  explicit Carver(void* block) : block_(static_cast<char*>(block)) {}

  float* floats(std::int64_t count) {
    float* here = block_ == nullptr ? nullptr : reinterpret_cast<float*>(block_ + bytes_);
    bytes_ += (count + kLineFloats - 1) / kLineFloats * kLineFloats * static_cast<std::int64_t>(sizeof(float));
    return here;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  char* block_;
  std::int64_t bytes_ = 0;
};

// A matrix for StackTerm, packed as [tiles][inputs][vectors of the tile], a tile two vectors of outputs: neighbouring
// ones, or, in a paired product, one of each half. A last single vector makes a tile of one.
//
// `at(o, i)` is the weight of output o (a padded position) and input i; outside of the matrix it must be zero.
template <class At>
void pack_stack_matrix(std::int64_t width, std::int64_t outputs, bool paired, std::int64_t inputs, float* to, At&& at) {
  const std::int64_t vectors = outputs / width;  // paired: of one half
  const auto pack = [&](std::int64_t first, std::int64_t second) {
    for (std::int64_t i = 0; i < inputs; ++i) {
      for (std::int64_t lane = 0; lane < width; ++lane) *to++ = at(first + lane, i);
      if (second < 0) continue;
      for (std::int64_t lane = 0; lane < width; ++lane) *to++ = at(second + lane, i);
    }
  };
  if (paired) {
    for (std::int64_t v = 0; v < vectors; ++v) pack(v * width, outputs + v * width);
  } else {
    for (std::int64_t v = 0; v < vectors; v += 2) pack(v * width, v + 1 < vectors ? (v + 1) * width : -1);
  }
}

inline std::int64_t packed_stack_floats(std::int64_t outputs, bool paired, std::int64_t inputs) {
  return (paired ? 2 : 1) * outputs * inputs;
}

// Rows of `columns` floats from one stride to another; the rest of a row becomes zero up to `padded_columns`.
inline void copy_rows(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride, std::int64_t rows,
                      std::int64_t columns, std::int64_t padded_columns) {
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t c = 0; c < columns; ++c) to[t * to_stride + c] = from[t * from_stride + c];
    for (std::int64_t c = columns; c < padded_columns; ++c) to[t * to_stride + c] = 0.0f;
  }
}

}  // namespace musicstar::cpu
