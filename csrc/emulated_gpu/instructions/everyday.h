// csrc/cuda/instructions/everyday.cuh for the emulated GPU.
#pragma once

#include <cmath>

#include "emulated_gpu/machine.h"

namespace musicstar::emulated_gpu {

// The block's static array of this declaration, poisoned at its first use.
template <typename Array>
Array& static_shared(const void* declaration) {
  Block& block = *current->block;
  char*& place = block.static_arrays[declaration];
  if (!place) {
    constexpr std::size_t kAlignment = alignof(Array) > 16 ? alignof(Array) : 16;
    block.static_bytes = (block.static_bytes + sizeof(Array) + kAlignment - 1) / kAlignment * kAlignment;
    if (block.static_bytes > kStaticShared) fault("more than 48 KiB of static shared memory");
    if (block.static_bytes + block.dynamic_bytes + kSharedMargin > kSharedWindow) fault("too much shared memory");
    place = block.shared + kSharedWindow - block.static_bytes;
    std::memset(place, 0xff, sizeof(Array));
  }
  return *reinterpret_cast<Array*>(place);
}

// Values as the tensor and special function units give them: rounded to 11 bits.
inline float rounded_to_11_bits(float x) {
  if (!std::isfinite(x)) return x;
  const unsigned word = __float_as_uint(x);
  return __uint_as_float((word + 0x7ffu + (word >> 12 & 1u)) & ~0xfffu);
}

inline float flushed(float x) { return std::fabs(x) < 1.17549435e-38f ? std::copysign(0.0f, x) : x; }

}  // namespace musicstar::emulated_gpu

#define MUSICSTAR_SHARED(type, name, count)   \
  static const char musicstar_key_##name = 0; \
  auto& name = ::musicstar::emulated_gpu::static_shared<type[count]>(&musicstar_key_##name)

namespace musicstar::cuda {

template <typename T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulated_gpu::current->block->shared);
}

// As within the 18 bits that descriptors have.
inline std::uint32_t shared_address(const void* pointer) {
  emulated_gpu::machine.block_of_shared(pointer);
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(pointer) & 0x3ffffu);
}

[[noreturn]] inline void unavailable() { emulated_gpu::fault("an instruction that this architecture lacks"); }

inline std::uint32_t pack_bf16(float lo, float hi) {
  return static_cast<std::uint32_t>(bf16(hi).bits) << 16 | bf16(lo).bits;
}
inline float2 unpack_bf16(std::uint32_t packed) {
  return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u));
}

inline float fast_exp2(float x) { return emulated_gpu::flushed(std::exp2(emulated_gpu::flushed(x))); }
inline float fast_exp(float x) { return fast_exp2(x * 1.4426950408889634f); }
inline float fast_tanh(float x) { return emulated_gpu::rounded_to_11_bits(std::tanh(x)); }
inline float fast_sigmoid(float x) { return std::fma(0.5f, fast_tanh(0.5f * x), 0.5f); }
inline float reciprocal(float x) { return emulated_gpu::flushed(1.0f / emulated_gpu::flushed(x)); }

// Who asks again and finds the same lets the others run until it changes.
inline std::uint32_t load_acquire(const std::uint32_t* p) {
  emulated_gpu::check_aligned(p, 4, "ld.acquire");
  return static_cast<std::uint32_t>(emulated_gpu::machine.poll("ld.acquire", p, sizeof *p));
}
inline void store_release(std::uint32_t* p, std::uint32_t v) {
  emulated_gpu::check_aligned(p, 4, "st.release");
  *p = v;
  emulated_gpu::machine.progressed();
}
inline void add_release(std::uint32_t* p, std::uint32_t v) {
  emulated_gpu::check_aligned(p, 4, "red.release");
  *p += v;
  emulated_gpu::machine.progressed();
}
inline std::uint32_t fetch_add(std::uint32_t* p, std::uint32_t v) {
  emulated_gpu::check_aligned(p, 4, "atom.add");
  emulated_gpu::machine.spin("atom.add");
  const std::uint32_t old = *p;
  *p += v;
  if (v) emulated_gpu::machine.progressed();
  return old;
}
template <typename T>
T load_relaxed(const T* p) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  emulated_gpu::check_aligned(p, sizeof(T), "ld.relaxed");
  return static_cast<T>(emulated_gpu::machine.poll("ld.relaxed", p, sizeof(T)));
}
inline void store_relaxed(std::uint32_t* p, std::uint32_t v) {
  emulated_gpu::check_aligned(p, 4, "st.relaxed");
  *p = v;
  emulated_gpu::machine.progressed();
}
inline void store_relaxed(std::uint64_t* p, std::uint64_t v) {
  emulated_gpu::check_aligned(p, 8, "st.relaxed");
  *p = v;
  emulated_gpu::machine.progressed();
}
inline uint4 load_cg(const void* p) {
  emulated_gpu::check_aligned(p, 16, "ld.global.cg.v4");
  uint4 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_cg(void* p, uint4 v) {
  emulated_gpu::check_aligned(p, 16, "st.global.cg.v4");
  std::memcpy(p, &v, sizeof v);
}
inline void pause(std::uint32_t) { emulated_gpu::machine.pause(); }

inline void named_barrier_sync(int id, int threads) {
  if (threads <= 0) emulated_gpu::fault("bar.sync: the number of threads must be positive");
  emulated_gpu::machine.pass_barrier(*emulated_gpu::current->block, id, static_cast<unsigned>(threads), true,
                                     "bar.sync");
}
inline void named_barrier_arrive(int id, int threads) {
  if (threads <= 0) emulated_gpu::fault("bar.arrive: the number of threads must be positive");
  emulated_gpu::machine.pass_barrier(*emulated_gpu::current->block, id, static_cast<unsigned>(threads), false,
                                     "bar.arrive");
}

}  // namespace musicstar::cuda
