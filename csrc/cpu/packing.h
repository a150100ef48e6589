// Weights brought into the order and precision in which the kernels read them.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "cpu/arena.h"
#include "cpu/kernels.h"

namespace musicstar::cpu {

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
