// Weight gradients: sums[o][i] += sum_t left[t][o] right[t][i].
//
// Both operands have time as rows, so a step in time is an outer product: kOutputs broadcasts of neighbouring floats of
// `left` and two vectors of `right`, kOutputs x 2 multiply-adds into registers. The vectors of `right` are first copied
// together for a span of rows (8 KiB: they are read again for every block of outputs, and their own rows would fall on
// few sets of the first-level cache); `left` has rows of an odd number of cache lines for the same reason
// (stack_memory.h). The bound is the multiply-adds' rate.
//
// Exactness: a sum is one chain of multiply-adds in the order of time, whatever range of outputs a thread has.
#pragma once

#include "cpu/stack_products.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

template <int OUTPUTS, int VECTORS>
inline __attribute__((always_inline)) void gradient_block(const StackGradient& call, const float* packed,
                                                          std::int64_t output, std::int64_t input) {
  Vector sums[OUTPUTS][VECTORS];
  float* to = call.sums + output * call.inputs + input;
#pragma GCC unroll 16
  for (int o = 0; o < OUTPUTS; ++o) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) sums[o][v] = load(to + o * call.inputs + v * kWidth);
  }
  const float* left = call.left + output;
  for (std::int64_t t = 0; t < call.rows; ++t, left += call.left_stride, packed += VECTORS * kWidth) {
    Vector right[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) right[v] = load(packed + v * kWidth);
#pragma GCC unroll 16
    for (int o = 0; o < OUTPUTS; ++o) {
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) sums[o][v] += left[o] * right[v];
    }
  }
#pragma GCC unroll 16
  for (int o = 0; o < OUTPUTS; ++o) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) store(to + o * call.inputs + v * kWidth, sums[o][v]);
  }
}

template <int VECTORS>
inline void gradient_of_inputs(const StackGradient& call, std::int64_t input) {
  alignas(64) float packed[StackKernels::kGradientRows * VECTORS * kWidth];
  for (std::int64_t t = 0; t < call.rows; ++t) {
    const std::int64_t at = t * call.right_stride + input;
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) {
      Vector right = load(call.right + at + v * kWidth);
      if (call.factor != nullptr) right *= load(call.factor + at + v * kWidth);
      store(packed + (t * VECTORS + v) * kWidth, right);
    }
  }
  // Whole blocks but for a few of four: the outputs are a multiple of four, as vectors are.
  std::int64_t in_blocks = call.outputs;
  while (in_blocks % kBlockRows != 0) in_blocks -= 4;
  std::int64_t output = 0;
  for (; output < in_blocks; output += kBlockRows) gradient_block<kBlockRows, VECTORS>(call, packed, output, input);
  for (; output < call.outputs; output += 4) gradient_block<4, VECTORS>(call, packed, output, input);
}

void gradient(const StackGradient& call) {
  std::int64_t input = 0;
  for (; input + kTile <= call.inputs; input += kTile) gradient_of_inputs<2>(call, input);
  if (input < call.inputs) gradient_of_inputs<1>(call, input);
}

// Two chains a column, of even and of odd rows: one alone would wait for each addition.
void column_sums(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* sums) {
  for (std::int64_t c = 0; c < columns; c += kWidth) {
    Vector even = load(sums + c), odd = Vector{};
    std::int64_t t = 0;
    for (; t + 2 <= rows; t += 2) {
      even += load(x + t * stride + c);
      odd += load(x + (t + 1) * stride + c);
    }
    if (t < rows) even += load(x + t * stride + c);
    store(sums + c, even + odd);
  }
}

void add(const float* x, std::int64_t count, float* sums) {
  for (std::int64_t i = 0; i < count; i += kWidth) store(sums + i, load(sums + i) + load(x + i));
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
