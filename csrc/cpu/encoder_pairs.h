// A layer of the encoder, of three taps and in fp32, by pairs of rows: four products for six, as in stack_pairs.h,
//
//   m = (x[t] + x[t + d]) (g_0 + g_1 + g_2) / 2        h[t]     = (m + n) + (x[t - d] - x[t + d]) g_0
//   n = (x[t + d] - x[t]) (g_0 - g_1 + g_2) / 2        h[t + d] = (m - n) + (x[t + 2d] - x[t]) g_2
//
// A row reads no row that its own taps do not reach, so no row waits for its partner: where the second one comes with a
// later call, the first leaves m - n for it. Pairs begin at the stream's first row, wherever calls are cut, and so the
// bits do not depend on the cuts. For a dilation of 3:
//
//   row      0 1 2   3 4 5   6 7 8   9 10 11   12 ...
//   pair     0 1 2   0 1 2   3 4 5   3  4  5    6 ...
//
// The bound is the multiply-adds' rate, 4 products for 5 where a GLU's two follow. The sums and differences of rows
// cost some twenty operations on vectors for each 8 C multiply-adds: 4 % with 64 channels.
#pragma once

#include "cpu/encoder_kernels.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

// The pairs [begin, end) whose rows, at row + offset, are among the call's.
struct PairsWithin {
  std::int64_t begin = 0, end = 0;

  PairsWithin(const std::int64_t* row, std::int64_t pairs, std::int64_t offset, std::int64_t rows) {
    while (begin < pairs && row[begin] + offset < 0) ++begin;
    end = begin;
    while (end < pairs && row[end] + offset < rows) ++end;
  }
  std::int64_t count() const { return end - begin; }
};

inline void add_rows(const float* a, const float* b, std::int64_t floats, float* to) {
  for (std::int64_t c = 0; c < floats; c += kWidth) store(to + c, load(a + c) + load(b + c));
}
inline void subtract_rows(const float* a, const float* b, std::int64_t floats, float* to) {
  for (std::int64_t c = 0; c < floats; c += kWidth) store(to + c, load(a + c) - load(b + c));
}

void encoder_layer_in_pairs(const EncoderLayerCall& call) {
  constexpr std::int64_t kPairs = kEncoderRows;
  const std::int64_t stride = call.stride, step = call.dilation;
  const RowRing& x = call.x;
  const auto multiply = [&](const PackedMatrix& w, const float* rows, const float* init, std::int64_t init_stride,
                            float* y,
                            std::int64_t count) { product_fp32(w, rows, stride, init, init_stride, y, stride, count); };
  float* panel = call.scratch;
  float* first = panel + kPairs * stride;
  float* second = first + kPairs * stride;
  float* pointwise = second + kPairs * stride;
  std::int64_t row[kPairs];  // of each pair's first row, from the call's first
  for (std::int64_t begin = call.first_pair; begin < call.last_pair; begin += kPairs) {
    const std::int64_t pairs = call.last_pair - begin < kPairs ? call.last_pair - begin : kPairs;
    for (std::int64_t i = 0; i < pairs; ++i) {
      row[i] = begin + i + (begin + i) / call.dilation * call.dilation - call.position;
    }
    const PairsWithin firsts(row, pairs, 0, call.rows), seconds(row, pairs, call.dilation, call.rows);
    const auto make_panel = [&](const PairsWithin& of, auto&& combine) {
      for (std::int64_t i = of.begin; i < of.end; ++i) {
        combine(row[i], panel + (i - of.begin) * stride);
      }
    };
    const auto finish = [&](float* hidden, const PairsWithin& of, std::int64_t offset) {
      rectify(hidden, of.count() * stride);
      add_pointwise<Fp32>(call, {reinterpret_cast<const char*>(hidden), stride * 4}, of.count(), pointwise,
                          [&](std::int64_t i) { return row[of.begin + i] + offset; });
    };
    const auto carried = [&](std::int64_t i) { return call.carried + (begin + i) % call.carried_rows * stride; };
    const std::size_t row_bytes = static_cast<std::size_t>(stride) * sizeof(float);

    if (firsts.count() > 0) {
      float* differences = second + firsts.begin * stride;
      make_panel(firsts, [&](std::int64_t t, float* to) { add_rows(x.at(t), x.at(t + step), stride, to); });
      multiply(call.taps[1], panel, call.dilated_bias, 0, first, firsts.count());
      make_panel(firsts, [&](std::int64_t t, float* to) { subtract_rows(x.at(t + step), x.at(t), stride, to); });
      multiply(call.taps[2], panel, call.zeros, 0, differences, firsts.count());
      for (std::int64_t i = 0; i < firsts.count() * stride; i += kWidth) {
        const Vector m = load(first + i), n = load(differences + i);
        store(first + i, m + n);
        store(differences + i, m - n);
      }
      make_panel(firsts, [&](std::int64_t t, float* to) { subtract_rows(x.at(t - step), x.at(t + step), stride, to); });
      multiply(call.taps[0], panel, first, stride, first, firsts.count());
      finish(first, firsts, 0);
    }
    for (std::int64_t i = firsts.begin > seconds.end ? firsts.begin : seconds.end; i < firsts.end; ++i) {
      std::memcpy(carried(i), second + i * stride, row_bytes);
    }
    for (std::int64_t i = seconds.begin; i < seconds.end && i < firsts.begin; ++i) {
      std::memcpy(second + i * stride, carried(i), row_bytes);
    }
    if (seconds.count() > 0) {
      float* hidden = second + seconds.begin * stride;
      make_panel(seconds, [&](std::int64_t t, float* to) { subtract_rows(x.at(t + 2 * step), x.at(t), stride, to); });
      multiply(call.taps[3], panel, hidden, stride, hidden, seconds.count());
      finish(hidden, seconds, call.dilation);
    }
  }
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
