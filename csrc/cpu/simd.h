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

inline Vector clamp(Vector x, float low, float high) {
  x = x < low ? broadcast(low) : x;
  return x > high ? broadcast(high) : x;
}

constexpr float kRounder =
    12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer, which stands in the low bits

// e^x to about 1e-7 relative, x clamped to +-limit: 2^n by the exponent field, 2^f by a polynomial on [-1/2, 1/2].
inline Vector exponential(Vector x, float limit = 87.0f) {
  x = clamp(x, -limit, limit);
  const Vector rounded = x * 1.44269504f + kRounder;
  const Vector n = rounded - kRounder;
  const Vector f = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  Vector p = f * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  return p * floats_of((bits_of(rounded) << 23) + (127 << 23));
}

// e^x to about 1e-4 relative: enough where the result is rounded to bf16 (4e-3) or int8 next.
inline Vector coarse_exponential(Vector x) {
  const Vector scaled = clamp(x * 1.44269504f, -125.0f, 125.0f);
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

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }
inline Vector coarse_sigmoid(Vector x) { return coarse_reciprocal(1.0f + coarse_exponential(-x)); }

// sigmoid(gate) * tanh(filter) with one division: (1 - e) / ((1 + e)(1 + g)), e = exp(-2 filter), g = exp(-gate). The
// tanh is -1 or 1 long before e^40. A larger e would make the product infinite, and the quotient 0, of gates that are
// open yet; with this one it is infinite only where the gate is below 1e-20.
inline Vector gated_activation(Vector gate, Vector filter) {
  const Vector e = exponential(filter * -2.0f, 40.0f);
  const Vector g = exponential(-gate);
  return (1.0f - e) / ((1.0f + e) * (1.0f + g));
}
inline Vector coarse_gated_activation(Vector gate, Vector filter) {
  const Vector e = coarse_exponential(clamp(filter, -20.0f, 20.0f) * -2.0f);
  const Vector g = coarse_exponential(clamp(gate, -40.0f, 40.0f) * -1.0f);
  return (1.0f - e) * coarse_reciprocal((1.0f + e) * (1.0f + g));
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
