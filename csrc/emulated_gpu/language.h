// What CUDA adds to C++ inside a kernel (the indices are machine.h's): barriers, exchanges within a warp, atomic
// operations, functions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "emulated_gpu/machine.h"

constexpr int warpSize = 32;

using std::fabs;
using std::max;
using std::min;

// --- Barriers and fences
// ------------------------------------------------------------------------------------------------

inline void __syncthreads() {
  using namespace musicstar::emulated_gpu;
  machine.pass_barrier(*current->block, 0, 0, true, "__syncthreads");
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  using namespace musicstar::emulated_gpu;
  int nothing = 0;
  meet(mask, "__syncwarp", nothing, [](auto&, unsigned) {});
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { musicstar::emulated_gpu::machine.pause(); }
[[noreturn]] inline void __trap() { musicstar::emulated_gpu::fault("the kernel traps"); }

// --- Exchanges within a warp
// --------------------------------------------------------------------------------------------

namespace musicstar::emulated_gpu::details {

// A lane whose source is outside its part of `width` lanes keeps its own value.
template <typename T, typename Source>
T shuffle(unsigned mask, const char* name, T value, int width, Source&& source) {
  struct Exchange {
    T value, result;
    int from;
  };
  const int lane = static_cast<int>(current->lane);
  const int start = lane / width * width;
  int from = source(lane - start);
  from = from < 0 || from >= width ? lane : start + from;
  Exchange mine{value, value, from};
  meet(mask, name, mine, [name](Exchange*(&all)[kLanes], unsigned lanes) {
    for (unsigned i = 0; i < kLanes; ++i) {
      if (!(lanes >> i & 1)) continue;
      const Exchange* other = all[all[i]->from];
      if (!other || !(lanes >> all[i]->from & 1)) fault(std::string(name) + ": reads a lane that does not take part");
      all[i]->result = other->value;
    }
  });
  return mine.result;
}

}  // namespace musicstar::emulated_gpu::details

template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  return musicstar::emulated_gpu::details::shuffle(mask, "__shfl_sync", value, width,
                                                   [=](int) { return from & (width - 1); });
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  return musicstar::emulated_gpu::details::shuffle(mask, "__shfl_up_sync", value, width,
                                                   [=](int lane) { return lane - static_cast<int>(by); });
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  return musicstar::emulated_gpu::details::shuffle(mask, "__shfl_down_sync", value, width,
                                                   [=](int lane) { return lane + static_cast<int>(by); });
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
  return musicstar::emulated_gpu::details::shuffle(mask, "__shfl_xor_sync", value, width,
                                                   [=](int lane) { return lane ^ with; });
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  using namespace musicstar::emulated_gpu;
  struct Vote {
    bool yes;
    unsigned result;
  } mine{predicate != 0, 0};
  meet(mask, "__ballot_sync", mine, [](Vote*(&all)[kLanes], unsigned lanes) {
    unsigned votes = 0;
    for (unsigned i = 0; i < kLanes; ++i) votes |= (lanes >> i & 1) && all[i]->yes ? 1u << i : 0u;
    for (unsigned i = 0; i < kLanes; ++i) {
      if (lanes >> i & 1) all[i]->result = votes;
    }
  });
  return mine.result;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

template <typename T, typename Combine>
T musicstar_emulated_reduce(unsigned mask, const char* name, T value, Combine&& combine) {
  using namespace musicstar::emulated_gpu;
  T mine = value;
  meet(mask, name, mine, [&](T*(&all)[kLanes], unsigned lanes) {
    T total{};
    bool first = true;
    for (unsigned i = 0; i < kLanes; ++i) {
      if (!(lanes >> i & 1)) continue;
      total = first ? *all[i] : combine(total, *all[i]);
      first = false;
    }
    for (unsigned i = 0; i < kLanes; ++i) {
      if (lanes >> i & 1) *all[i] = total;
    }
  });
  return mine;
}
template <typename T>
T __reduce_add_sync(unsigned mask, T value) {
  return musicstar_emulated_reduce(mask, "__reduce_add_sync", value, [](T a, T b) { return a + b; });
}
template <typename T>
T __reduce_max_sync(unsigned mask, T value) {
  return musicstar_emulated_reduce(mask, "__reduce_max_sync", value, [](T a, T b) { return std::max(a, b); });
}
template <typename T>
T __reduce_min_sync(unsigned mask, T value) {
  return musicstar_emulated_reduce(mask, "__reduce_min_sync", value, [](T a, T b) { return std::min(a, b); });
}

// --- Atomic operations: fibers are never interrupted within one, so each is an ordinary one
// -----------------------------

namespace musicstar::emulated_gpu::details {
template <typename T, typename Change>
T change(T* place, Change&& how) {
  machine.spin("an atomic operation");
  const T before = *place;
  *place = how(before);
  if (!(*place == before)) machine.progressed();
  return before;
}
}  // namespace musicstar::emulated_gpu::details

template <typename T>
T atomicAdd(T* place, std::common_type_t<T> value) {
  return musicstar::emulated_gpu::details::change(place, [=](T before) { return before + value; });
}
template <typename T>
T atomicMax(T* place, std::common_type_t<T> value) {
  return musicstar::emulated_gpu::details::change(place, [=](T before) { return std::max(before, value); });
}
template <typename T>
T atomicMin(T* place, std::common_type_t<T> value) {
  return musicstar::emulated_gpu::details::change(place, [=](T before) { return std::min(before, value); });
}
template <typename T>
T atomicOr(T* place, std::common_type_t<T> value) {
  return musicstar::emulated_gpu::details::change(place, [=](T before) { return before | value; });
}
template <typename T>
T atomicExch(T* place, std::common_type_t<T> value) {
  return musicstar::emulated_gpu::details::change(place, [=](T) { return value; });
}
template <typename T>
T atomicCAS(T* place, std::common_type_t<T> expected, std::common_type_t<T> value) {
  return musicstar::emulated_gpu::details::change(place, [=](T before) { return before == expected ? value : before; });
}
inline unsigned atomicInc(unsigned* place, unsigned limit) {
  return musicstar::emulated_gpu::details::change(place,
                                                  [=](unsigned before) { return before >= limit ? 0u : before + 1; });
}

// --- Functions
// ----------------------------------------------------------------------------------------------------------

template <typename T>
T __ldg(const T* place) {
  return *place;
}
template <typename T>
T __ldcg(const T* place) {
  return *place;
}
template <typename T>
T __ldcs(const T* place) {
  return *place;
}
template <typename T>
void __stcg(T* place, T value) {
  *place = value;
}
template <typename T>
void __stcs(T* place, T value) {
  *place = value;
}

namespace musicstar::emulated_gpu::details {
template <typename To, typename From>
To bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}
}  // namespace musicstar::emulated_gpu::details

inline unsigned __float_as_uint(float x) { return musicstar::emulated_gpu::details::bits<unsigned>(x); }
inline int __float_as_int(float x) { return musicstar::emulated_gpu::details::bits<int>(x); }
inline float __uint_as_float(unsigned x) { return musicstar::emulated_gpu::details::bits<float>(x); }
inline float __int_as_float(int x) { return musicstar::emulated_gpu::details::bits<float>(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::lrint(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __float2int_rd(float x) { return static_cast<int>(std::floor(x)); }
inline unsigned __float2uint_rz(float x) { return static_cast<unsigned>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
  return y;
}
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(static_cast<unsigned long long>(x) * y >> 32);
}
inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<long long>(x) * y >> 32); }
// Bytes of {y, x} (x the lower) chosen by the nibbles of `selector`.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long both = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(both >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  return result;
}
// Four products of signed bytes, added.
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) c += static_cast<signed char>(a >> (8 * i)) * static_cast<signed char>(b >> (8 * i));
  return c;
}
inline long long clock64() {
  static long long ticks = 0;
  return ++ticks;
}
