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

// Groups of rows (stack_spans.h) that a product takes at once: their activations stay in the second-level cache between
// a layer's two products. A multiple of every instruction set's block of rows.
constexpr std::int64_t kSpanGroups = 96;

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
  std::int64_t first = 0;  // number of the first one; the terms' x begin with it, all that follows with number 0
  std::int64_t outputs = 0;
  const float* bias = nullptr;              // [outputs], paired [2 outputs]; may be null where the epilogue says so
  const std::int64_t* bias_rows = nullptr;  // [rows]: the row of `bias` that each takes, where the epilogue says so
  const std::int64_t* places = nullptr;     // [rows]: where each stands in base and y, where the kernel says so
  const float* base = nullptr;              // see the epilogue
  std::int64_t base_stride = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  const float* read = nullptr;  // [rows][2 outputs or outputs]: activations that a forward has saved
  float* saved = nullptr;       // [rows][2 outputs or outputs]: where a forward saves them; may be null
  std::int64_t saved_stride = 0;
};

// The sums and differences of rows that products of pairs take: stack_pairs.h. All rows are of one sequence.
struct StackPanels {
  const float* x = nullptr;  // [time][columns]
  std::int64_t stride = 0;
  std::int64_t columns = 0;  // padded
  std::int64_t taps = 0;     // 2 or 3
  // First rows of the groups, then second rows of those that have one; counted from `sequence_row` on.
  const std::int64_t* places = nullptr;
  std::int64_t sequence_row = 0;
  std::int64_t counts[2] = {};
  // Inputs only: group g reads the rows places[g] + first + j step, zero where that is not in [0, time).
  std::int64_t first = 0, step = 0, time = 0;
  float* to = nullptr;  // [taps + 1 panels][groups][columns]
  std::int64_t to_stride = 0;
  std::int64_t panel_floats = 0;
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

  // In order: y and what is saved have their rows by number. Placed: base and y have them where `places` says; what is
  // read has them by number.
  using Rows = void (*)(const StackRows& call);
  // Unpaired, placed: y = base + bias (or null) + sum.
  Rows rows_add;
  // Unpaired, in order: y = ReLU(bias + sum).
  Rows rows_rectified;
  // Paired, in order: y = sigmoid(first half) tanh(second half) of bias + sum, a row of the bias for each; saves both
  // factors.
  Rows rows_gated;
  // Paired, placed: y = base + (first half) sigmoid(second half) of bias + sum; saves both factors, in order.
  Rows rows_glu;
  // Unpaired, placed: the gradient of z = g f, y [2 outputs] = (sum f g (1 - g), sum g (1 - f^2)); reads (g, f).
  Rows rows_gated_gradient;
  // Unpaired, placed: y = sum where the activation was positive, else 0; reads it.
  Rows rows_rectified_gradient;

  // The same for pairs of rows under a dilated convolution: terms are panels with one row a group, taps + 1 of them,
  // and the rows first rows and then second rows, counts[0] and counts[1] (stack_pairs.h).
  using Pairs = void (*)(const StackRows& call, const std::int64_t* counts);
  Pairs pairs_add, pairs_rectified, pairs_gated;
  void (*input_panels)(const StackPanels& call);
  void (*gradient_panels)(const StackPanels& call);

  // In order, but base placed: y [rows][2 n] = (d s, d v s (1 - s)): the gradient of v s, given d [rows][n] and (v, s)
  // [rows][2 n]. Uses y, base (d), places, read, outputs (n) and rows.
  Rows glu_gradient;

  void (*gradient)(const StackGradient& call);
  // sums[c] += sum over rows of x[row][c], for `columns` of them.
  void (*column_sums)(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* sums);
  // sums[i] += x[i].
  void (*add)(const float* x, std::int64_t count, float* sums);
};

const StackKernels& stack_kernels_of(Isa isa);

}  // namespace musicstar::cpu
