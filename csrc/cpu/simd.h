// Vectors of floats of the width that the including file asks for, and elementary functions on them.
//
// The vector type is the compiler's own vector extension, so the same text is SSE2, AVX2, AVX-512 and NEON. Everything
// here is inline in a namespace of its own per instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

constexpr std::int64_t kWidth = MUSICSTAR_VECTOR_FLOATS;
constexpr std::int64_t kTile = 2 * kWidth;

typedef float Vector __attribute__((vector_size(kWidth * sizeof(float)), aligned(4), may_alias));
typedef std::int32_t Integers __attribute__((vector_size(kWidth * sizeof(float)), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Integers load_integers(const void* from) { return *reinterpret_cast<const Integers*>(from); }

inline Vector broadcast(float value) { return Vector{} + value; }
inline Integers bits_of(Vector value) { return reinterpret_cast<const Integers&>(value); }
inline Vector floats_of(Integers bits) { return reinterpret_cast<const Vector&>(bits); }

// a b + c, said outright where a branch nearby could keep the compiler from contracting it in one copy and not in
// another.
inline Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
  return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (Vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// A NaN stays one.
inline Vector clamp(Vector x, float low, float high) {
#if defined(__AVX512F__)
  return (Vector)_mm512_min_ps((__m512)broadcast(high), _mm512_max_ps((__m512)broadcast(low), (__m512)x));
#elif defined(__AVX2__)
  return (Vector)_mm256_min_ps((__m256)broadcast(high), _mm256_max_ps((__m256)broadcast(low), (__m256)x));
#else
  x = x < low ? broadcast(low) : x;
  return x > high ? broadcast(high) : x;
#endif
}

// 1.5 * 2^23: adding it rounds to the nearest integer, which stands in the low bits.
constexpr float kRounder = 12582912.0f;
constexpr float kLog2E = 1.44269504f;

// 2^x, x clamped to +-limit, at most 126: the relative error is below 2.4e-7, and another 4e-8 |x| come from x itself
// having been rounded. A sigmoid or tanh made of it is within 3e-7 of the true value. A NaN stays one.
inline Vector power_of_two(Vector x, float limit) {
  x = clamp(x, -limit, limit);
  const Vector rounded = x + kRounder;
  const Vector f = x - (rounded - kRounder);
  Vector p = f * 1.32647169e-03f + 9.67150982e-03f;  // of 2^f on [-1/2, 1/2], least relative error
  p = p * f + 5.55073374e-02f;
  p = p * f + 2.40222421e-01f;
  p = p * f + 6.93146978e-01f;
  p = p * f + 1.0f;
  return floats_of(bits_of(p) + (bits_of(rounded) << 23));
}

// e^x to about 1e-4 relative: enough where the result is rounded to bf16 (4e-3) or int8 next.
inline Vector coarse_exponential(Vector x) {
  const Vector scaled = clamp(x * kLog2E, -125.0f, 125.0f);
  const Vector rounded = scaled + kRounder;
  const Vector f = scaled - (rounded - kRounder);
  Vector p = f * 5.51716698e-02f + 2.42611128e-01f;  // 2^f on [-1/2, 1/2], least relative error
  p = p * f + 6.93260986e-01f;
  p = p * f + 9.99928073e-01f;
  return p * floats_of((bits_of(rounded) << 23) + (127 << 23));
}

#if defined(__AVX512F__)
inline Vector coarse_reciprocal(Vector x) { return (Vector)_mm512_rcp14_ps((__m512)x); }  // to 6e-5
#else
inline Vector coarse_reciprocal(Vector x) { return 1.0f / x; }
#endif

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + power_of_two(x * -kLog2E, 126.0f)); }
inline Vector coarse_sigmoid(Vector x) { return coarse_reciprocal(1.0f + coarse_exponential(-x)); }

// sigmoid(gate) * tanh(filter) with one division: (1 - e) / ((1 + e)(1 + g)), e = exp(-2 filter), g = exp(-gate). At
// these limits tanh is 1 in fp32 and the sigmoid below 1e-26, and the product cannot overflow.
constexpr float kTanhLimit = 30.0f, kGateLimit = 88.0f;
inline Vector gated_activation(Vector gate, Vector filter) {
  const Vector e = power_of_two(filter * (-2.0f * kLog2E), kTanhLimit);
  const Vector g = power_of_two(gate * -kLog2E, kGateLimit);
  return (1.0f - e) / ((1.0f + e) * (1.0f + g));
}
inline Vector coarse_gated_activation(Vector gate, Vector filter) {
  const Vector e = coarse_exponential(clamp(filter, -20.0f, 20.0f) * -2.0f);
  const Vector g = coarse_exponential(clamp(gate, -40.0f, 40.0f) * -1.0f);
  return (1.0f - e) * coarse_reciprocal((1.0f + e) * (1.0f + g));
}

// The low bytes, or low halves, of two vectors' elements side by side. (Left to the compiler where it has one
// instruction for it; GCC takes AVX2's elements out one by one.)
inline void store_bytes(void* to, Integers a, Integers b) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)a, (__m256i)b), 0xD8);
  _mm_storeu_si128(static_cast<__m128i*>(to),
                   _mm_packus_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
#else
  typedef std::uint8_t Bytes __attribute__((vector_size(kWidth), aligned(1), may_alias));
  static_cast<Bytes*>(to)[0] = __builtin_convertvector(a, Bytes);
  static_cast<Bytes*>(to)[1] = __builtin_convertvector(b, Bytes);
#endif
}
inline void store_halves(void* to, Integers a, Integers b) {
  typedef std::uint16_t Halves __attribute__((vector_size(kWidth * 2), aligned(2), may_alias));
  static_cast<Halves*>(to)[0] = __builtin_convertvector(a, Halves);
  static_cast<Halves*>(to)[1] = __builtin_convertvector(b, Halves);
}

// The largest of a vector's elements.
inline float largest_of(Vector x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#else
  float result = x[0];
  for (std::int64_t i = 1; i < kWidth; ++i) result = x[i] > result ? x[i] : result;
  return result;
#endif
}

inline Vector rectified(Vector x) { return x > 0.0f ? x : Vector{}; }

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
