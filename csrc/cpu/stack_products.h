// Sums of products of rows with packed matrices, with an epilogue on the registers that hold them.
//
// A block of ROWS x VECTORS sums stays in registers over all terms and inputs; each step loads VECTORS weights and ROWS
// broadcast inputs for ROWS x VECTORS multiply-adds. With 6 x 2 of them (AVX2: 16 registers) or 12 x 2 (AVX-512: 32)
// the loads take two thirds of the multiply-adds' cycles and their latency is covered, so the bound is the
// multiply-adds' rate. A tile's weights (K x inputs x 2 vectors: 16 KiB for two taps of 128 channels) stay in the
// first-level cache while the rows of a span go by.
//
// What an epilogue reads and writes is asked for before the products, which take long enough for it to come from
// memory.
//
// Exactness: an output is one chain of multiply-adds, over terms and inputs in order, whatever block it is computed in.
#pragma once

#include "cpu/simd.h"
#include "cpu/stack_kernels.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

constexpr int kBlockRows = MUSICSTAR_VECTOR_FLOATS == 16 ? 12 : 6;

// Where vector v of a tile stands in a row of outputs.
template <class Epilogue>
inline std::int64_t column(const StackRows& call, std::int64_t tile, int v) {
  return Epilogue::kPaired ? v * call.outputs + tile * kWidth : tile * kTile + v * kWidth;
}

#define MUSICSTAR_INLINE __attribute__((always_inline))

template <int COUNT>
struct Count {
  static constexpr int kCount = COUNT;
};

// Calls body(Count<ROWS>, first row) for blocks of rows, whole ones as long as there are any.
template <class Body>
inline void for_row_blocks(std::int64_t rows, Body&& body) {
  std::int64_t row = 0;
  for (; row + kBlockRows <= rows; row += kBlockRows) body(Count<kBlockRows>{}, row);
  for (; row + 2 <= rows; row += 2) body(Count<2>{}, row);
  for (; row < rows; ++row) body(Count<1>{}, row);
}

// Calls body(Count<VECTORS>, tile) for the tiles of the outputs.
template <class Epilogue, class Body>
inline void for_tiles(const StackRows& call, Body&& body) {
  const std::int64_t tiles = call.outputs / (Epilogue::kPaired ? kWidth : kTile);
  for (std::int64_t tile = 0; tile < tiles; ++tile) body(Count<2>{}, tile);
  if constexpr (!Epilogue::kPaired) {
    if (call.outputs % kTile != 0) body(Count<1>{}, tiles);
  }
}

// Adds to the sums of a block of rows the products of a term.
template <int ROWS, int VECTORS>
inline MUSICSTAR_INLINE void add_term(const StackTerm& term, std::int64_t tile, std::int64_t row,
                                      Vector (&sums)[ROWS][VECTORS]) {
  const std::int64_t stride = term.stride;
  const float* x = term.x + row * stride;
  const float* w = term.weight + tile * term.inputs * kTile;
  for (std::int64_t i = 0; i < term.inputs; ++i, ++x, w += VECTORS * kWidth) {
    Vector weights[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) weights[v] = load(w + v * kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const float input = x[r * stride];
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; ++v) sums[r][v] += input * weights[v];
    }
  }
}

template <class Epilogue>
void rows_product(const StackRows& call) {
  for_tiles<Epilogue>(call, [&](auto vectors, std::int64_t tile) {
    for_row_blocks(call.rows, [&](auto rows, std::int64_t row) MUSICSTAR_INLINE {
      Vector sums[rows.kCount][vectors.kCount];
      const std::int64_t number = call.first + row;
#pragma GCC unroll 16
      for (int r = 0; r < rows.kCount; ++r) {
        Epilogue::prefetch(call, number + r, tile);
#pragma GCC unroll 2
        for (int v = 0; v < vectors.kCount; ++v) {
          sums[r][v] = Epilogue::start(call, number + r, column<Epilogue>(call, tile, v));
        }
      }
      for (std::int64_t k = 0; k < call.term_count; ++k) {
        add_term<rows.kCount, vectors.kCount>(call.terms[k], tile, row, sums);
      }
#pragma GCC unroll 16
      for (int r = 0; r < rows.kCount; ++r) {
        Epilogue::template finish<vectors.kCount>(call, number + r, tile, sums[r]);
      }
    });
  });
}

struct AddEpilogue {
  static constexpr bool kPaired = false;
  static void prefetch(const StackRows& call, std::int64_t row, std::int64_t tile) {
    __builtin_prefetch(call.base + call.places[row] * call.base_stride + tile * kTile);
    __builtin_prefetch(call.y + call.places[row] * call.y_stride + tile * kTile, 1);
  }
  static Vector start(const StackRows& call, std::int64_t, std::int64_t at) {
    return call.bias == nullptr ? Vector{} : load(call.bias + at);
  }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    const float* base = call.base + call.places[row] * call.base_stride + tile * kTile;
    float* y = call.y + call.places[row] * call.y_stride + tile * kTile;
    for (int v = 0; v < VECTORS; ++v) store(y + v * kWidth, load(base + v * kWidth) + sums[v]);
  }
};

struct RectifiedEpilogue {
  static constexpr bool kPaired = false;
  static void prefetch(const StackRows&, std::int64_t, std::int64_t) {}
  static Vector start(const StackRows& call, std::int64_t, std::int64_t at) { return load(call.bias + at); }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    for (int v = 0; v < VECTORS; ++v) {
      // Not `rectified`, which makes a zero of a NaN: a training that diverges must show it.
      store(call.y + row * call.y_stride + tile * kTile + v * kWidth, sums[v] < 0.0f ? Vector{} : sums[v]);
    }
  }
};

struct GatedEpilogue {
  static constexpr bool kPaired = true;
  static void prefetch(const StackRows&, std::int64_t, std::int64_t) {}
  static Vector start(const StackRows& call, std::int64_t row, std::int64_t at) {
    return load(call.bias + call.bias_rows[row] * 2 * call.outputs + at);
  }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    // As gated_activation, but sigmoid and tanh apart: q = 1 / ((1 + e)(1 + g)).
    const Vector one_e = 1.0f + power_of_two(sums[1] * (-2.0f * kLog2E), kTanhLimit);
    const Vector one_g = 1.0f + power_of_two(sums[0] * -kLog2E, kGateLimit);
    const Vector q = 1.0f / (one_e * one_g);
    const Vector gate = q * one_e;
    const Vector filter = q * (2.0f - one_e) * one_g;
    const std::int64_t at = tile * kWidth;
    store(call.y + row * call.y_stride + at, gate * filter);
    if (call.saved != nullptr) {
      store(call.saved + row * call.saved_stride + at, gate);
      store(call.saved + row * call.saved_stride + call.outputs + at, filter);
    }
  }
};

struct GluEpilogue {
  static constexpr bool kPaired = true;
  static void prefetch(const StackRows& call, std::int64_t row, std::int64_t tile) {
    __builtin_prefetch(call.base + call.places[row] * call.base_stride + tile * kWidth);
  }
  static Vector start(const StackRows& call, std::int64_t, std::int64_t at) { return load(call.bias + at); }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    const Vector gate = sigmoid(sums[1]);
    const std::int64_t at = tile * kWidth;
    const Vector base = load(call.base + call.places[row] * call.base_stride + at);
    store(call.y + call.places[row] * call.y_stride + at, base + sums[0] * gate);
    if (call.saved != nullptr) {
      store(call.saved + row * call.saved_stride + at, sums[0]);
      store(call.saved + row * call.saved_stride + call.outputs + at, gate);
    }
  }
};

struct GatedGradientEpilogue {
  static constexpr bool kPaired = false;
  static void prefetch(const StackRows& call, std::int64_t row, std::int64_t tile) {
    const float* saved = call.read + row * call.saved_stride + tile * kTile;
    __builtin_prefetch(saved);
    __builtin_prefetch(saved + call.outputs);
    float* y = call.y + call.places[row] * call.y_stride + tile * kTile;
    __builtin_prefetch(y, 1);
    __builtin_prefetch(y + call.outputs, 1);
  }
  static Vector start(const StackRows&, std::int64_t, std::int64_t) { return Vector{}; }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    for (int v = 0; v < VECTORS; ++v) {
      const std::int64_t at = tile * kTile + v * kWidth;
      const float* saved = call.read + row * call.saved_stride + at;
      const Vector gate = load(saved), filter = load(saved + call.outputs);
      float* y = call.y + call.places[row] * call.y_stride + at;
      store(y, sums[v] * filter * gate * (1.0f - gate));
      store(y + call.outputs, sums[v] * gate * (1.0f - filter * filter));
    }
  }
};

struct RectifiedGradientEpilogue {
  static constexpr bool kPaired = false;
  static void prefetch(const StackRows& call, std::int64_t row, std::int64_t tile) {
    __builtin_prefetch(call.read + row * call.saved_stride + tile * kTile);
    __builtin_prefetch(call.y + call.places[row] * call.y_stride + tile * kTile, 1);
  }
  static Vector start(const StackRows&, std::int64_t, std::int64_t) { return Vector{}; }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    for (int v = 0; v < VECTORS; ++v) {
      const std::int64_t at = tile * kTile + v * kWidth;
      const Vector activation = load(call.read + row * call.saved_stride + at);
      store(call.y + call.places[row] * call.y_stride + at, activation == 0.0f ? Vector{} : sums[v]);
    }
  }
};

void glu_gradient(const StackRows& call) {
  for (std::int64_t row = 0; row < call.rows; ++row) {
    const float* saved = call.read + row * call.saved_stride;
    float* y = call.y + row * call.y_stride;
    for (std::int64_t at = 0; at < call.outputs; at += kWidth) {
      const Vector given = load(call.base + call.places[row] * call.base_stride + at);
      const Vector value = load(saved + at), gate = load(saved + call.outputs + at);
      store(y + at, given * gate);
      store(y + call.outputs + at, given * value * gate * (1.0f - gate));
    }
  }
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
