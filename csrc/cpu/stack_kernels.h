// What the residual stacks of training compile once per instruction set: two kinds of products over rows, as a table of
// plain functions over plain structs (kernels.h says why).
//
//   rows_*      y[t] = what the epilogue makes of  bias + sum over terms of x_term[t] W_term      forward, data
//   gradients gradient    sums[o][i] += sum_t left[t][o] right[t][i]                                        weight
//   gradients
//
// A tap of a dilated convolution is a term whose x is moved in time: no copy of the taps side by side is ever made. All
// rows are padded to a multiple of `width` floats; padded weights are zero.
#pragma once

#include <cstdint>

#include "musicstar/isa.h"

namespace musicstar::cpu {

// One matrix of a sum of products: rows x [rows][inputs] times W, packed as StackPacking says.
struct StackTerm {
  const float* x = nullptr;
  std::int64_t stride = 0;
  std::int64_t inputs = 0;
  const float* weight = nullptr;
};

// Rows of outputs, padded. A paired product has two halves of `outputs` each, and computes an output of the first
// together with that of the second.
struct StackRows {
  const StackTerm* terms = nullptr;
  std::int64_t term_count = 0;
  std::int64_t rows = 0;
  std::int64_t outputs = 0;
  const float* bias = nullptr;  // [outputs], paired [2 outputs]; may be null where the epilogue says so
  const float* base = nullptr;  // [rows], see the epilogue
  std::int64_t base_stride = 0;
  float* y = nullptr;  // [rows]
  std::int64_t y_stride = 0;
  const float* read = nullptr;  // [rows][2 outputs or outputs]: activations that a forward has saved
  float* saved = nullptr;       // [rows][2 outputs or outputs]: where a forward saves them; may be null
  std::int64_t saved_stride = 0;
};

struct StackGradient {
  const float* left = nullptr;  // [rows][outputs]
  std::int64_t left_stride = 0;
  const float* right = nullptr;  // [rows][inputs]; times `factor` where there is one
  const float* factor = nullptr;
  std::int64_t right_stride = 0;
  std::int64_t rows = 0;     // at most StackKernels::kGradientRows
  std::int64_t outputs = 0;  // padded
  std::int64_t inputs = 0;   // padded
  float* sums = nullptr;     // [outputs][inputs]
};

struct StackKernels {
  static constexpr std::int64_t kGradientRows = 128;

  std::int64_t width;       // floats of a vector: rows are padded to a multiple of it
  std::int64_t block_rows;  // rows that a block of registers holds: spans should be a multiple of it

  using Rows = void (*)(const StackRows& call);
  // Unpaired: y = base + bias (or null) + sum.
  Rows rows_add;
  // Unpaired: y = ReLU(bias + sum).
  Rows rows_rectified;
  // Paired: y = sigmoid(first half) tanh(second half) of bias + sum; saves both factors.
  Rows rows_gated;
  // Paired: y = base + (first half) sigmoid(second half) of bias + sum; saves both factors.
  Rows rows_glu;
  // Unpaired: the gradient of z = g f, y [2 outputs] = (sum f g (1 - g), sum g (1 - f^2)); reads (g, f).
  Rows rows_gated_gradient;
  // Unpaired: y = sum where the activation was positive, else 0; reads it.
  Rows rows_rectified_gradient;

  // y [rows][2 n] = (d s, d v s (1 - s)): the gradient of v s, given d [rows][n] and (v, s) [rows][2 n]. Uses y, base
  // (d), read, outputs (n) and rows.
  Rows glu_gradient;

  void (*gradient)(const StackGradient& call);
  // sums[c] += sum over rows of x[row][c], for `columns` of them.
  void (*column_sums)(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* sums);
  // sums[i] += x[i].
  void (*add)(const float* x, std::int64_t count, float* sums);
};

const StackKernels& stack_kernels_of(Isa isa);

}  // namespace musicstar::cpu
