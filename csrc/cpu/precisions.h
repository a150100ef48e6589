// What a product multiplies, per precision: how a row of activations is brought into that form, and one step of the
// inner sum.
//
//   fp32   float x float                                         group 1
//   bf16   both rounded to nearest even, sums in fp32            group 2: AVX-512 BF16's dot
//          weights rounded, activations float, sums in fp32      group 2: elsewhere, weights widened on the way
//   int8   weights with a scale per output, activations with     group 4: activations as bytes around 128; VNNI's dot,
//          a scale per row, sums in int32                        or AVX2's products of bytes, which meet in 16 bits
//                                                                (packing.cpp sees to it that they fit)
//                                                                group 2: elsewhere, 16-bit products
//
// A group is the number of neighbouring weights that one 32-bit lane holds. Its multiply-adds are made in kSteps, each
// with one vector for a row's input.
#pragma once

#include "cpu/kernels.h"
#include "cpu/simd.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

// The largest magnitude of a row; floats are a multiple of kWidth.
inline float largest_magnitude(const float* x, std::int64_t floats) {
  Vector largest = Vector{};
  for (std::int64_t i = 0; i < floats; i += kWidth) {
    const Vector magnitude = floats_of(bits_of(load(x + i)) & 0x7FFFFFFF);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest_of(largest);
}

struct Fp32 {
  static constexpr int kRows = MUSICSTAR_ROWS;  // of a block whose sums stay in registers
  static constexpr int kSteps = 1;
  static constexpr Precision kPrecision = Precision::kFp32;
  using ForEnds = Fp32;
  using ForEncoder = Fp32;
  using Sum = Vector;
  using Weights = Vector;
  using Input = float;
  static constexpr bool kScaled = false, kConverted = false;
  static constexpr RowFormat kFormat = {1, 4, 4, 0, 0, false};

  static Weights weights(const char* from, int) { return load(reinterpret_cast<const float*>(from)); }
  static Input input(const char* row, std::int64_t group, int) { return reinterpret_cast<const float*>(row)[group]; }
  static void multiply_add(Sum& sum, Weights w, Input x) { sum += x * w; }
  static Vector gated(Vector gate, Vector filter) { return gated_activation(gate, filter); }
  static Vector gate_of_glu(Vector x) { return sigmoid(x); }
};

// What is rounded to fewer bits next need not be more exact than these bits.
struct CoarseActivations {
  static Vector gated(Vector gate, Vector filter) { return coarse_gated_activation(gate, filter); }
  static Vector gate_of_glu(Vector x) { return coarse_sigmoid(x); }
};

struct Bf16 : CoarseActivations {
  static constexpr int kRows = MUSICSTAR_ROWS == 6 ? 5 : MUSICSTAR_ROWS;  // widening takes registers as well
  static constexpr Precision kPrecision = Precision::kBf16;
  using ForEnds = Bf16;
  using Sum = Vector;
  static constexpr bool kScaled = false;
#if defined(MUSICSTAR_DOT_PRODUCTS)
  using ForEncoder = Bf16;
  static constexpr int kSteps = 1;
  static constexpr bool kConverted = true;
  static constexpr RowFormat kFormat = {2, 2, 2, 0, 0, false};
  using Weights = __m512bh;
  using Input = __m512bh;
  static Weights weights(const char* from, int) { return (Weights)_mm512_loadu_si512(from); }
  static Input input(const char* row, std::int64_t group, int) {
    return (Input)_mm512_set1_epi32(reinterpret_cast<const std::int32_t*>(row)[group]);
  }
  static void multiply_add(Sum& sum, Weights w, Input x) { sum = (Vector)_mm512_dpbf16_ps((__m512)sum, w, x); }

  static Integers rounded(Vector x) {
    const Integers bits = bits_of(x);
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF;
  }
  static void convert(const float* x, std::int64_t floats, char* row) {
    for (std::int64_t i = 0; i < floats; i += kTile) {
      store_halves(row + 2 * i, rounded(load(x + i)), rounded(load(x + i + kWidth)));
    }
  }
#else
  using ForEncoder = Fp32;          // its weights are read once for many rows: smaller ones would save nothing
  static constexpr int kSteps = 2;  // one for each of the pair
  static constexpr bool kConverted = false;
  static constexpr RowFormat kFormat = {2, 2, 4, 0, 0, false};
  using Weights = Vector;
  using Input = float;
  static Weights weights(const char* from, int step) {
    const Integers pairs = load_integers(from);
    return floats_of(step == 0 ? pairs << 16 : pairs & static_cast<std::int32_t>(0xFFFF0000));
  }
  static Input input(const char* row, std::int64_t group, int step) {
    return reinterpret_cast<const float*>(row)[2 * group + step];
  }
  static void multiply_add(Sum& sum, Weights w, Input x) { sum += x * w; }
#endif
};

struct Int8 : CoarseActivations {
  static constexpr int kRows = MUSICSTAR_ROWS;
  static constexpr Precision kPrecision = Precision::kInt8;
  // int8 at the ends would cost four times as much as it costs between them, for a thirtieth of the time.
  using ForEnds = Bf16;
  using ForEncoder = Int8;
  using Sum = Integers;
  static constexpr bool kScaled = true, kConverted = true;
#if defined(__AVX2__)
#if defined(MUSICSTAR_DOT_PRODUCTS) || defined(__AVXVNNI__)
  static constexpr bool kIn16Bits = false;
#else
  static constexpr bool kIn16Bits = true;
#endif
  static constexpr int kSteps = 1;
  static constexpr RowFormat kFormat = {4, 1, 1, 64, 128, kIn16Bits};
  using Element = std::uint8_t;
#if defined(__AVX512BW__)
  using Weights = __m512i;
#else
  using Weights = __m256i;
#endif
  using Input = Weights;
  static Weights weights(const char* from, int) { return (Weights)load_integers(from); }
  static Input input(const char* row, std::int64_t group, int) {
    return (Input)(Integers{} + reinterpret_cast<const std::int32_t*>(row)[group]);
  }
  static void multiply_add(Sum& sum, Weights w, Input x) {
#if defined(MUSICSTAR_DOT_PRODUCTS)
    sum = (Integers)_mm512_dpbusd_epi32((__m512i)sum, x, w);
#elif defined(__AVXVNNI__)
    sum = (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, x, w);
#elif defined(__AVX512BW__)
    sum += (Integers)_mm512_madd_epi16(_mm512_maddubs_epi16(x, w), _mm512_set1_epi16(1));
#else
    sum += (Integers)_mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1));
#endif
  }
#else
  static constexpr int kSteps = 2;  // one for each of the pair
  static constexpr RowFormat kFormat = {2, 2, 2, 64, 0, false};
  using Element = std::int16_t;
  using Weights = Integers;
  using Input = std::int32_t;
  static Weights weights(const char* from, int step) {
    const Integers pairs = load_integers(from);
    return step == 0 ? (pairs << 16) >> 16 : pairs >> 16;
  }
  static Input input(const char* row, std::int64_t group, int step) {
    return reinterpret_cast<const Element*>(row)[2 * group + step];
  }
  static void multiply_add(Sum& sum, Weights w, Input x) { sum += x * w; }
#endif

  // The row's scale stands behind its elements: x is about scale * (element - offset).
  static void convert(const float* x, std::int64_t floats, char* row) {
    const float largest = largest_magnitude(x, floats);
    const float scale = largest > 0.0f ? largest / 127.0f : 1.0f;
    const float inverse = 1.0f / scale;
    const auto whole = [&](std::int64_t i) {  // around the offset
      return bits_of(load(x + i) * inverse + kRounder) - bits_of(broadcast(kRounder)) + kFormat.offset;
    };
    for (std::int64_t i = 0; i < floats; i += kTile) {
      char* const to = row + i * static_cast<std::int64_t>(sizeof(Element));
      if constexpr (sizeof(Element) == 1) {
        store_bytes(to, whole(i), whole(i + kWidth));
      } else {
        store_halves(to, whole(i), whole(i + kWidth));
      }
    }
    std::memcpy(row + floats * static_cast<std::int64_t>(sizeof(Element)), &scale, sizeof scale);
  }
};

// The scale that `Int8::convert` left behind a row of `floats` elements.
inline float row_scale(const char* row, std::int64_t floats) {
  float scale;
  std::memcpy(&scale, row + floats * static_cast<std::int64_t>(sizeof(Int8::Element)), sizeof scale);
  return scale;
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
