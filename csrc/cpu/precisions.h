// What a product multiplies, per precision: how a row of activations is brought into that form, and one step of the
// inner sum.
//
//   fp32   float x float                                         group 1
//   bf16   both rounded to nearest even, sums in fp32            group 2: AVX-512 BF16's dot, or widened where there is
//                                                                none
//   int8   weights with a scale per output, activations with     group 4: activations as bytes around 128; VNNI's dot,
//          a scale per row, sums in int32                        or AVX2's products of bytes, which meet in 16 bits
//                                                                (packing.cpp sees to it that they fit)
//                                                                group 2: elsewhere, 16-bit products
//
// A group is the number of neighbouring inputs that one 32-bit lane holds, of a weight and of an activation alike.
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
  using ForLogits = Fp32;
  using Sum = Vector;
  static constexpr bool kScaled = false;
  static constexpr RowFormat kFormat = {1, 4, 4, 0, 0, false};

  struct Input {
    float value;
  };
  static Input input(const char* row, std::int64_t group) { return {reinterpret_cast<const float*>(row)[group]}; }
  static void multiply_add(Sum& sum, const char* weights, Input x) {
    sum += x.value * load(reinterpret_cast<const float*>(weights));
  }
  static Vector gated(Vector gate, Vector filter) { return gated_activation(gate, filter); }
  static Vector gate_of_glu(Vector x) { return sigmoid(x); }
};

// What is rounded to fewer bits next need not be more exact than these bits.
struct CoarseActivations {
  static Vector gated(Vector gate, Vector filter) { return coarse_gated_activation(gate, filter); }
  static Vector gate_of_glu(Vector x) { return coarse_sigmoid(x); }
};

struct Bf16 : CoarseActivations {
  static constexpr int kRows = MUSICSTAR_ROWS == 6 ? 4 : MUSICSTAR_ROWS;  // widened weights take registers as well
  using ForLogits = Bf16;
  using Sum = Vector;
  static constexpr bool kScaled = false;
  static constexpr RowFormat kFormat = {2, 2, 2, 0, 0, false};

  static Integers rounded(Vector x) {
    const Integers bits = bits_of(x);
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF;
  }
  static void convert(const float* x, std::int64_t floats, char* row) {
    for (std::int64_t i = 0; i < floats; i += kTile) {
      store_halves(row + 2 * i, rounded(load(x + i)), rounded(load(x + i + kWidth)));
    }
  }
#if defined(MUSICSTAR_DOT_PRODUCTS)
  struct Input {
    __m512i pair;
  };
  static Input input(const char* row, std::int64_t group) {
    return {_mm512_set1_epi32(reinterpret_cast<const std::int32_t*>(row)[group])};
  }
  static void multiply_add(Sum& sum, const char* weights, Input x) {
    sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_loadu_si512(weights), (__m512bh)x.pair);
  }
#else
  struct Input {
    float first, second;
  };
  static Input input(const char* row, std::int64_t group) {
    std::uint32_t pair;
    std::memcpy(&pair, row + 4 * group, sizeof pair);
    const std::uint32_t low = pair << 16, high = pair & 0xFFFF0000u;
    Input x;
    std::memcpy(&x.first, &low, sizeof low);
    std::memcpy(&x.second, &high, sizeof high);
    return x;
  }
  static void multiply_add(Sum& sum, const char* weights, Input x) {
    const Integers pairs = load_integers(weights);
    sum += x.first * floats_of(pairs << 16);
    sum += x.second * floats_of(pairs & static_cast<std::int32_t>(0xFFFF0000));
  }
#endif
};

struct Int8 : CoarseActivations {
  static constexpr int kRows = MUSICSTAR_ROWS;
  // int8 weights of the logits alone would cost a third of all that int8 costs, for 1 % of the work.
  using ForLogits = Bf16;
  using Sum = Integers;
  static constexpr bool kScaled = true;
#if defined(__AVX2__)
#if defined(MUSICSTAR_DOT_PRODUCTS) || defined(__AVXVNNI__)
  static constexpr bool kIn16Bits = false;
#else
  static constexpr bool kIn16Bits = true;
#endif
  static constexpr RowFormat kFormat = {4, 1, 1, 64, 128, kIn16Bits};
  using Element = std::uint8_t;
#if defined(__AVX512BW__)
  using Input = __m512i;
#else
  using Input = __m256i;
#endif
  static Input input(const char* row, std::int64_t group) {
    return (Input)(Integers{} + reinterpret_cast<const std::int32_t*>(row)[group]);
  }
  static void multiply_add(Sum& sum, const char* weights, Input x) {
    const Input w = (Input)load_integers(weights);
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
  static constexpr RowFormat kFormat = {2, 2, 2, 64, 0, false};
  using Element = std::int16_t;
  struct Input {
    std::int32_t first, second;
  };
  static Input input(const char* row, std::int64_t group) {
    std::int16_t pair[2];
    std::memcpy(pair, row + 4 * group, sizeof pair);
    return {pair[0], pair[1]};
  }
  static void multiply_add(Sum& sum, const char* weights, Input x) {
    const Integers pairs = load_integers(weights);
    sum += x.first * ((pairs << 16) >> 16) + x.second * (pairs >> 16);
  }
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
