// A dilated convolution of two or three taps by pairs of rows, with fewer products: fast FIR filtering [1, 2].
//
// Rows t and t + d of a convolution with dilation d share inputs. With x_j the input of row t's first tap, moved by
// j d, and g_k the taps' weights, three products do the work of four,
//
//   c = x_1 (g_0 + g_1)        y[t] = c + (x_0 - x_1) g_0        y[t + d] = c + (x_2 - x_1) g_1
//
// and four that of six:
//
//   m = (x_1 + x_2) (g_0 + g_1 + g_2) / 2        y[t]     = (m + n) + (x_0 - x_2) g_0
//   n = (x_2 - x_1) (g_0 - g_1 + g_2) / 2        y[t + d] = (m - n) + (x_3 - x_1) g_2
//
// A row depends on its own inputs alone, so what is causal stays so to the bit. The gradient of the inputs is such a
// convolution again. Those of the weights are the transposed sums: with a and b the gradients of y[t] and y[t + d], a
// product's weight gets the sum over t of
//
//   two taps      a (x_0 - x_1)    (a + b) x_1            b (x_2 - x_1)
//   three taps    a (x_0 - x_2)    (a + b) (x_1 + x_2)    (a - b) (x_2 - x_1)    b (x_3 - x_1)
//
// and a tap's gradient is that of its own product and half of those of the shared ones (Dilated::gradient).
//
// The sums and differences of rows, a panel for each product, are made once for a span: an addition and a few loads for
// every 2 C to 4 C multiply-adds. A product's tile of weights stays in the first-level cache while the groups of a span
// go by; what the rows of a pair share waits there too, at most 2 x 96 groups x 2 vectors. The bound is the
// multiply-adds' rate, with 3 for 4 or 4 for 6 of them. Rounding: the terms are sums of two inputs and of two or three
// weights, so errors are about twice those of the direct sums.
//
// [1] S. Winograd, Arithmetic Complexity of Computations, 1980. [2] Z.-J. Mou, P. Duhamel, Short-length FIR filters and
// their use in fast nonrecursive filtering, 1991.
#pragma once

#include "cpu/stack_products.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

template <class Epilogue, int VECTORS>
inline void pairs_of_tile(const StackRows& call, const std::int64_t* counts, std::int64_t tile) {
  constexpr std::int64_t kFloats = VECTORS * kWidth;
  alignas(64) float shared[2][kSpanGroups * kFloats];
  const bool of_three = call.term_count == 4;
  const StackTerm* terms = call.terms;

  for_row_blocks(counts[0], [&](auto rows, std::int64_t g) MUSICSTAR_INLINE {
    Vector sums[rows.kCount][VECTORS] = {};
    add_term<rows.kCount, VECTORS>(terms[1], tile, g, sums);
    for (int r = 0; r < rows.kCount; ++r) {
      for (int v = 0; v < VECTORS; ++v) store(shared[0] + (g + r) * kFloats + v * kWidth, sums[r][v]);
    }
  });
  if (of_three) {
    for_row_blocks(counts[0], [&](auto rows, std::int64_t g) MUSICSTAR_INLINE {
      Vector sums[rows.kCount][VECTORS] = {};
      add_term<rows.kCount, VECTORS>(terms[2], tile, g, sums);
      for (int r = 0; r < rows.kCount; ++r) {
        for (int v = 0; v < VECTORS; ++v) {
          const std::int64_t at = (g + r) * kFloats + v * kWidth;
          const Vector first = load(shared[0] + at);
          store(shared[0] + at, first + sums[r][v]);
          store(shared[1] + at, first - sums[r][v]);
        }
      }
    });
  }
  for (const int member : {0, 1}) {
    const StackTerm& own = terms[member == 0 ? 0 : call.term_count - 1];
    const float* of_both = shared[of_three ? member : 0];
    const std::int64_t first = member == 0 ? 0 : counts[0];
    for_row_blocks(counts[member], [&](auto rows, std::int64_t g) MUSICSTAR_INLINE {
      Vector sums[rows.kCount][VECTORS];
      for (int r = 0; r < rows.kCount; ++r) {
        Epilogue::prefetch(call, first + g + r, tile);
        for (int v = 0; v < VECTORS; ++v) {
          sums[r][v] = load(of_both + (g + r) * kFloats + v * kWidth) +
                       Epilogue::start(call, first + g + r, column<Epilogue>(call, tile, v));
        }
      }
      add_term<rows.kCount, VECTORS>(own, tile, g, sums);
      for (int r = 0; r < rows.kCount; ++r) {
        Epilogue::template finish<VECTORS>(call, first + g + r, tile, sums[r]);
      }
    });
  }
}

template <class Epilogue>
void pairs_product(const StackRows& call, const std::int64_t* counts) {
  for_tiles<Epilogue>(
      call, [&](auto vectors, std::int64_t tile) { pairs_of_tile<Epilogue, vectors.kCount>(call, counts, tile); });
}

const float kZeroVector[kWidth] = {};

// A row of inputs, or zeros in its place: column c at data + c where `moves` is -1, always at data where it is 0.
struct PanelRow {
  const float* data;
  std::int64_t moves;
  Vector at(std::int64_t column) const { return load(data + (column & moves)); }
};

void input_panels(const StackPanels& call) {
  for (std::int64_t g = 0; g < call.counts[0]; ++g) {
    PanelRow x[4];
    std::int64_t row = call.places[g] - call.sequence_row + call.first;
    for (int j = 0; j <= call.taps; ++j, row += call.step) {
      const bool inside = row >= 0 && row < call.time;
      x[j] = inside ? PanelRow{call.x + row * call.stride, -1} : PanelRow{kZeroVector, 0};
    }
    float* to = call.to + g * call.to_stride;
    if (call.taps == 2) {
      for (std::int64_t c = 0; c < call.columns; c += kWidth, to += kWidth) {
        const Vector middle = x[1].at(c);
        store(to, x[0].at(c) - middle);
        store(to + call.panel_floats, middle);
        store(to + 2 * call.panel_floats, x[2].at(c) - middle);
      }
    } else {
      for (std::int64_t c = 0; c < call.columns; c += kWidth, to += kWidth) {
        const Vector one = x[1].at(c), two = x[2].at(c);
        store(to, x[0].at(c) - two);
        store(to + call.panel_floats, one + two);
        store(to + 2 * call.panel_floats, two - one);
        store(to + 3 * call.panel_floats, x[3].at(c) - one);
      }
    }
  }
}

void gradient_panels(const StackPanels& call) {
  for (std::int64_t g = 0; g < call.counts[0]; ++g) {
    const float* first = call.x + (call.places[g] - call.sequence_row) * call.stride;
    PanelRow second{kZeroVector, 0};
    if (g < call.counts[1]) {
      second = {call.x + (call.places[call.counts[0] + g] - call.sequence_row) * call.stride, -1};
    }
    float* to = call.to + g * call.to_stride;
    for (std::int64_t c = 0; c < call.columns; c += kWidth, to += kWidth) {
      const Vector a = load(first + c), b = second.at(c);
      store(to, a);
      store(to + call.panel_floats, a + b);
      if (call.taps == 3) store(to + 2 * call.panel_floats, a - b);
      store(to + call.taps * call.panel_floats, b);
    }
  }
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
