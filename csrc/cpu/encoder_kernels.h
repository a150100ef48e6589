// A layer of the encoder over a span of rows: equations in reference/encoder.cpp.
#pragma once

#include "cpu/products.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

// Rows whose hidden activations stay in the nearer caches between the two products of a layer.
constexpr std::int64_t kEncoderRows = 32;

std::int64_t encoder_scratch_floats(std::int64_t stride) {
  return kEncoderRows * (5 * stride + 2 * RowFormat::kLargestTrailer);
}

inline void rectify(float* x, std::int64_t floats) {
  for (std::int64_t i = 0; i < floats; i += kWidth) store(x + i, rectified(load(x + i)));
}

// y = x + glu(pointwise hidden), or without the GLU, for row_of(0) .. row_of(rows - 1). pointwise: [rows][outputs].
template <class P, class RowOf>
inline void add_pointwise(const EncoderLayerCall& call, const Rows& hidden, std::int64_t rows, float* pointwise,
                          RowOf&& row_of) {
  const std::int64_t stride = call.stride;
  const std::int64_t outputs = call.gated ? 2 * stride : stride;
  product<P>(call.pointwise, hidden.data, hidden.bytes, call.pointwise_bias, 0, pointwise, outputs, rows);
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* x = call.x.at(row_of(r));
    float* y = call.y.at(row_of(r));
    for (std::int64_t c = 0; c < stride; c += kWidth) {
      Vector value = load(pointwise + r * outputs + c);
      if (call.gated) value *= P::gate_of_glu(load(pointwise + r * outputs + stride + c));
      store(y + c, load(x + c) + value);
    }
    if constexpr (P::kConverted) {
      if (call.y.converted != nullptr) P::convert(y, stride, call.y.converted_at(row_of(r)));
    }
  }
}

// The rows of a ring from r on to its end.
template <class P>
inline Rows rows_in(const RowRing& ring, std::int64_t r) {
  if constexpr (P::kConverted) {
    return {ring.converted_at(r), ring.converted_bytes};
  } else {
    return rows_of<P>(ring.at(r), ring.stride, ring.stride, 0, nullptr);
  }
}

// y = x + glu(pointwise ReLU(dilated x)), tap by tap.
template <class P>
void encoder_layer(const EncoderLayerCall& call) {
  const std::int64_t stride = call.stride;
  float* hidden = call.scratch;
  float* pointwise = hidden + kEncoderRows * stride;
  char* converted = reinterpret_cast<char*>(pointwise + kEncoderRows * 2 * stride);
  for (std::int64_t begin = 0; begin < call.rows; begin += kEncoderRows) {
    const std::int64_t rows = call.rows - begin < kEncoderRows ? call.rows - begin : kEncoderRows;
    for (std::int64_t k = 0; k < call.kernel_size; ++k) {
      for (std::int64_t r = 0; r < rows;) {  // neighbours in the ring
        const std::int64_t first = begin + call.tap_offsets[k] + r;
        const std::int64_t to_end = call.x.capacity - call.x.place(first);
        const std::int64_t count = rows - r < to_end ? rows - r : to_end;
        const Rows tap = rows_in<P>(call.x, first);
        float* sums = hidden + r * stride;
        product<P>(call.taps[k], tap.data, tap.bytes, k == 0 ? call.dilated_bias : sums, k == 0 ? 0 : stride, sums,
                   stride, count);
        r += count;
      }
    }
    rectify(hidden, rows * stride);
    const Rows h = rows_of<P>(hidden, stride, stride, rows, converted);
    add_pointwise<P>(call, h, rows, pointwise, [&](std::int64_t r) { return begin + r; });
  }
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
