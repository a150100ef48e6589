// The loops behind peaks.h, compiled once per instruction set. The including file defines MUSICSTAR_PEAKS (a namespace
// of its own), MUSICSTAR_VECTOR_FLOATS, MUSICSTAR_VECTOR_REGISTER (the letter of a vector register in an asm
// constraint), and MUSICSTAR_DOT_PRODUCTS where AVX-512's VNNI and BF16 may be used.
//
// kChains sums are independent of each other: more than latency x throughput (at most 6 x 2), so the multipliers are
// always busy, and few enough for sixteen registers. The empty asm hides from the compiler what a register holds: no
// product can be moved out of the loop, no sum be dropped.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "cpu/peaks.h"

#define MUSICSTAR_HIDE(value) asm volatile("" : "+" MUSICSTAR_VECTOR_REGISTER(value))

namespace musicstar::cpu::MUSICSTAR_PEAKS {

namespace {

constexpr int kWidth = MUSICSTAR_VECTOR_FLOATS;
constexpr int kChains = 12;

typedef float Vector __attribute__((vector_size(kWidth * sizeof(float))));
typedef std::int32_t Integers __attribute__((vector_size(kWidth * sizeof(float))));

// STEP: {Sum, kMultiplyAdds of one instruction, static void step(Sum& sum, Sum& x, Sum w)}.
template <class STEP>
std::int64_t multiply_adds(std::int64_t rounds) {
  typename STEP::Sum sums[kChains] = {}, x = {}, w = {};
  MUSICSTAR_HIDE(x);
  MUSICSTAR_HIDE(w);
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) {
      STEP::step(sums[i], x, w);
      MUSICSTAR_HIDE(sums[i]);
    }
  }
  return rounds * kChains * STEP::kMultiplyAdds;
}

struct Fp32Step {
  using Sum = Vector;
  static constexpr std::int64_t kMultiplyAdds = kWidth;
  // The sum is a factor: a product of x and w alone could be moved out of the loop.
  static void step(Sum& sum, Sum& x, Sum w) { sum = sum * x + w; }
};

#if defined(MUSICSTAR_DOT_PRODUCTS)
struct Bf16Step {
  using Sum = Vector;
  static constexpr std::int64_t kMultiplyAdds = 2 * kWidth;
  static void step(Sum& sum, Sum& x, Sum w) { sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w); }
};

struct Int8Step {
  using Sum = Integers;
  static constexpr std::int64_t kMultiplyAdds = 4 * kWidth;
  static void step(Sum& sum, Sum& x, Sum w) {
    sum = (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
  }
};
#else
// Without a bf16 dot product every bf16 multiply-add is one in fp32, after widening.
using Bf16Step = Fp32Step;

#if defined(__AVXVNNI__)
struct Int8Step {
  using Sum = Integers;
  static constexpr std::int64_t kMultiplyAdds = 4 * kWidth;
  static void step(Sum& sum, Sum& x, Sum w) {
    sum = (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
  }
};
#elif defined(__AVX2__)
// Bytes by pairs, those by pairs, and an addition. x changes with the chain, else all chains would share one product.
struct Int8Step {
  using Sum = Integers;
  static constexpr std::int64_t kMultiplyAdds = 4 * kWidth;
  static void step(Sum& sum, Sum& x, Sum w) {
    MUSICSTAR_HIDE(x);
#if defined(__AVX512BW__)
    sum += (Integers)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)x, (__m512i)w), _mm512_set1_epi16(1));
#else
    sum += (Integers)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)x, (__m256i)w), _mm256_set1_epi16(1));
#endif
  }
};
#else
struct Int8Step {
  using Sum = Integers;
  static constexpr std::int64_t kMultiplyAdds = kWidth;
  static void step(Sum& sum, Sum& x, Sum w) { sum = sum * x + w; }
};
#endif
#endif

void read(const char* from, std::int64_t bytes) {
  constexpr std::int64_t kParts = 8;
  Integers parts[kParts] = {};
  const auto* vectors = reinterpret_cast<const Integers*>(from);
  const std::int64_t count = bytes / static_cast<std::int64_t>(sizeof(Integers));
  for (std::int64_t i = 0; i < count; i += kParts) {
#pragma GCC unroll 8
    for (std::int64_t part = 0; part < kParts; ++part) {
      parts[part] |= vectors[i + part];
      MUSICSTAR_HIDE(parts[part]);
    }
  }
}

}  // namespace

extern const PeakKernels kPeakKernels;
const PeakKernels kPeakKernels = {
    {multiply_adds<Fp32Step>, multiply_adds<Bf16Step>, multiply_adds<Int8Step>},
    read,
};

}  // namespace musicstar::cpu::MUSICSTAR_PEAKS
