// Sums of products of rows with packed matrices, with an epilogue on the registers that hold them.
//
// A block of ROWS x VECTORS sums stays in registers over all terms and inputs; each step loads VECTORS weights and ROWS
// broadcast inputs for ROWS x VECTORS multiply-adds. With 6 x 2 of them (AVX2: 16 registers) or 12 x 2 (AVX-512: 32)
// the loads take two thirds of the multiply-adds' cycles and their latency is covered, so the bound is the
// multiply-adds' rate. A tile's weights (K x inputs x 2 vectors: 16 KiB for two taps of 128 channels) stay in the
// first-level cache while the rows of a span go by.
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

// 2^x, x clamped to +-limit, at most 126: the relative error is below 2.4e-7, and another 4e-8 |x| come from x itself
// having been rounded. A sigmoid or tanh made of it is within 3e-7 of the true value. A NaN stays one.
inline Vector power_of_two(Vector x, float limit) {
#if defined(__AVX512F__)
  x = (Vector)_mm512_min_ps((__m512)broadcast(limit), _mm512_max_ps((__m512)broadcast(-limit), (__m512)x));
#elif defined(__AVX2__)
  x = (Vector)_mm256_min_ps((__m256)broadcast(limit), _mm256_max_ps((__m256)broadcast(-limit), (__m256)x));
#else
  x = clamp(x, -limit, limit);
#endif
  const Vector rounded = x + kRounder;
  const Vector f = x - (rounded - kRounder);
  Vector p = f * 1.32647169e-03f + 9.67150982e-03f;  // of 2^f on [-1/2, 1/2], least relative error
  p = p * f + 5.55073374e-02f;
  p = p * f + 2.40222421e-01f;
  p = p * f + 6.93146978e-01f;
  p = p * f + 1.0f;
  return floats_of(bits_of(p) + (bits_of(rounded) << 23));
}

constexpr float kLog2E = 1.44269504f;

template <class Epilogue, int ROWS, int VECTORS>
inline __attribute__((always_inline)) void rows_block(const StackRows& call, std::int64_t tile, std::int64_t row) {
  Vector sums[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; ++v) sums[r][v] = Epilogue::start(call, row + r, column<Epilogue>(call, tile, v));
  }
  for (std::int64_t k = 0; k < call.term_count; ++k) {
    const StackTerm& term = call.terms[k];
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
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) Epilogue::template finish<VECTORS>(call, row + r, tile, sums[r]);
}

template <class Epilogue, int VECTORS>
inline void rows_of_tile(const StackRows& call, std::int64_t tile) {
  std::int64_t row = 0;
  for (; row + kBlockRows <= call.rows; row += kBlockRows) rows_block<Epilogue, kBlockRows, VECTORS>(call, tile, row);
  for (; row + 2 <= call.rows; row += 2) rows_block<Epilogue, 2, VECTORS>(call, tile, row);
  for (; row < call.rows; ++row) rows_block<Epilogue, 1, VECTORS>(call, tile, row);
}

template <class Epilogue>
void rows_product(const StackRows& call) {
  if constexpr (Epilogue::kPaired) {
    for (std::int64_t tile = 0; tile < call.outputs / kWidth; ++tile) rows_of_tile<Epilogue, 2>(call, tile);
  } else {
    const std::int64_t tiles = call.outputs / kTile;
    for (std::int64_t tile = 0; tile < tiles; ++tile) rows_of_tile<Epilogue, 2>(call, tile);
    if (call.outputs % kTile != 0) rows_of_tile<Epilogue, 1>(call, tiles);
  }
}

struct AddEpilogue {
  static constexpr bool kPaired = false;
  static Vector start(const StackRows& call, std::int64_t row, std::int64_t at) {
    const Vector base = load(call.base + row * call.base_stride + at);
    return call.bias == nullptr ? base : base + load(call.bias + at);
  }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    for (int v = 0; v < VECTORS; ++v) store(call.y + row * call.y_stride + tile * kTile + v * kWidth, sums[v]);
  }
};

struct RectifiedEpilogue {
  static constexpr bool kPaired = false;
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
  static Vector start(const StackRows& call, std::int64_t, std::int64_t at) { return load(call.bias + at); }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    // sigmoid and tanh with one division, q = 1 / ((1 + e)(1 + g)), e = exp(-2 filter), g = exp(-gate). At these limits
    // tanh is 1 in fp32 and the sigmoid below 1e-26, and the product cannot overflow.
    const Vector one_e = 1.0f + power_of_two(sums[1] * (-2.0f * kLog2E), 30.0f);
    const Vector one_g = 1.0f + power_of_two(sums[0] * -kLog2E, 88.0f);
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
  static Vector start(const StackRows& call, std::int64_t, std::int64_t at) { return load(call.bias + at); }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    const Vector gate = 1.0f / (1.0f + power_of_two(sums[1] * -kLog2E, 126.0f));
    const std::int64_t at = tile * kWidth;
    store(call.y + row * call.y_stride + at, load(call.base + row * call.base_stride + at) + sums[0] * gate);
    if (call.saved != nullptr) {
      store(call.saved + row * call.saved_stride + at, sums[0]);
      store(call.saved + row * call.saved_stride + call.outputs + at, gate);
    }
  }
};

struct GatedGradientEpilogue {
  static constexpr bool kPaired = false;
  static Vector start(const StackRows&, std::int64_t, std::int64_t) { return Vector{}; }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    for (int v = 0; v < VECTORS; ++v) {
      const std::int64_t at = tile * kTile + v * kWidth;
      const float* saved = call.read + row * call.saved_stride + at;
      const Vector gate = load(saved), filter = load(saved + call.outputs);
      float* y = call.y + row * call.y_stride + at;
      store(y, sums[v] * filter * gate * (1.0f - gate));
      store(y + call.outputs, sums[v] * gate * (1.0f - filter * filter));
    }
  }
};

struct RectifiedGradientEpilogue {
  static constexpr bool kPaired = false;
  static Vector start(const StackRows&, std::int64_t, std::int64_t) { return Vector{}; }
  template <int VECTORS>
  static void finish(const StackRows& call, std::int64_t row, std::int64_t tile, const Vector* sums) {
    for (int v = 0; v < VECTORS; ++v) {
      const std::int64_t at = tile * kTile + v * kWidth;
      const Vector activation = load(call.read + row * call.saved_stride + at);
      store(call.y + row * call.y_stride + at, activation == 0.0f ? Vector{} : sums[v]);
    }
  }
};

void glu_gradient(const StackRows& call) {
  for (std::int64_t row = 0; row < call.rows; ++row) {
    const float* saved = call.read + row * call.saved_stride;
    float* y = call.y + row * call.y_stride;
    for (std::int64_t at = 0; at < call.outputs; at += kWidth) {
      const Vector given = load(call.base + row * call.base_stride + at);
      const Vector value = load(saved + at), gate = load(saved + call.outputs + at);
      store(y + at, given * gate);
      store(y + call.outputs + at, given * value * gate * (1.0f - gate));
    }
  }
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
