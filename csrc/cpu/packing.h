// Memory for the engines, and weights brought into the order and precision in which the kernels read them.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>

#include "cpu/kernels.h"

namespace musicstar::cpu {

// Zeroed memory at cache-line borders, all released together.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  char* bytes(std::int64_t count);
  float* floats(std::int64_t count) { return reinterpret_cast<float*>(bytes(count * 4)); }
  // `count` values followed by zeros up to `padded`.
  float* copy(const float* values, std::int64_t count, std::int64_t padded);

 private:
  std::deque<void*> blocks_;
};

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Outputs first_row .. first_row + out - 1 of one tap of a convolution, which become columns from `column` on.
struct MatrixPart {
  const float* weight;  // (out, in, kernel_size)
  std::int64_t out, first_row;
  std::int64_t kernel_size, tap;
  std::int64_t column;
};

// Packs matrices for one instruction set and precision.
class Packer {
 public:
  Packer(Arena& arena, const Kernels& kernels, Precision precision)
      : arena_(arena), tile_(kernels.tile), precision_(precision), format_(kernels.in(precision).format) {}

  // Parts side by side in a matrix of `in` inputs and `padded_out` outputs; what no part fills is zero.
  PackedMatrix pack(std::int64_t in, std::int64_t padded_out, std::initializer_list<MatrixPart> parts) const;

 private:
  void store(char* place, float value, float scale) const;

  Arena& arena_;
  std::int64_t tile_;
  Precision precision_;
  RowFormat format_;
};

}  // namespace musicstar::cpu
