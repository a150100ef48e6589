// What every kernel needs: bf16 pairs, fast functions, loads and stores that meet in L2, barriers of a block, shared
// memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

// Architecture of the code being compiled: sm_90 and later, and sm_90a with its warpgroup instructions.
#if defined(MUSICSTAR_EMULATED_GPU) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
#define MUSICSTAR_SM90 1
#endif
#if defined(MUSICSTAR_EMULATED_GPU) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MUSICSTAR_SM90A 1
#endif

namespace musicstar::cuda {

using bf16 = __nv_bfloat16;
using bf16x2 = __nv_bfloat162;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ int lane_of_thread() { return static_cast<int>(threadIdx.x) & (kWarp - 1); }
// The warp of this thread in a one-dimensional block, told to the compiler to be the same for all lanes.
__device__ __forceinline__ int warp_of_thread() {
  return __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarp, 0);
}

}  // namespace musicstar::cuda

#ifdef MUSICSTAR_EMULATED_GPU
#include "emulated_gpu/instructions/everyday.h"
#else

// An array in static shared memory: MUSICSTAR_SHARED(float, sums, 32); declares float sums[32].
#define MUSICSTAR_SHARED(type, name, count) __shared__ type name[count]

namespace musicstar::cuda {

// The block's dynamic shared memory, aligned to 1024 bytes (what a tile with the 128-byte swizzle asks for).
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char musicstar_dynamic_shared[];
  return reinterpret_cast<T*>(musicstar_dynamic_shared);
}

// The address within the shared window that instructions take. [cvta.to.shared]
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Stands for an instruction that the compiled architecture lacks.
__device__ __forceinline__ void unavailable() { __trap(); }

// --- bf16
// ---------------------------------------------------------------------------------------------------------------

// Two floats rounded to nearest even, `lo` in the lower half. [cvt.rn.bf16x2.f32]
__device__ __forceinline__ std::uint32_t pack_bf16(float lo, float hi) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(hi), "f"(lo));
  return packed;
}

// The lower half in x, the upper in y.
__device__ __forceinline__ float2 unpack_bf16(std::uint32_t packed) {
  return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u));
}

// --- Fast functions
// -----------------------------------------------------------------------------------------------------

// 2^x; relative error at most 2^-22; subnormals are zero. [ex2.approx.ftz.f32]
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// e^x; the relative error of fast_exp2 and about |x| 2^-24 more.
__device__ __forceinline__ float fast_exp(float x) { return fast_exp2(x * 1.4426950408889634f); }

// Relative error at most 2^-11. [tanh.approx.f32]
__device__ __forceinline__ float fast_tanh(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / (1 + e^-x) as 1/2 + tanh(x/2)/2: absolute error at most 2^-12.
__device__ __forceinline__ float fast_sigmoid(float x) { return fmaf(0.5f, fast_tanh(0.5f * x), 0.5f); }

// 1/x; error at most 1 unit in the last place; subnormals are zero. [rcp.approx.ftz.f32]
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// --- Memory that blocks share through L2
// --------------------------------------------------------------------------------

// Sees everything that happened before the store_release or add_release whose value it reads. [ld.acquire.gpu]
__device__ __forceinline__ std::uint32_t load_acquire(const std::uint32_t* p) {
  std::uint32_t v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}

// [st.release.gpu]
__device__ __forceinline__ void store_release(std::uint32_t* p, std::uint32_t v) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// Adds without returning what was there. [red.release.gpu.add]
__device__ __forceinline__ void add_release(std::uint32_t* p, std::uint32_t v) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// Adds and returns what was there: acquires and releases. [atom.acq_rel.gpu.add]
__device__ __forceinline__ std::uint32_t fetch_add(std::uint32_t* p, std::uint32_t v) {
  std::uint32_t old;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(v) : "memory");
  return old;
}

// Indivisible, but orders nothing else: for values that carry their own flag. [ld.relaxed.gpu, st.relaxed.gpu]
__device__ __forceinline__ std::uint32_t load_relaxed(const std::uint32_t* p) {
  std::uint32_t v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ std::uint64_t load_relaxed(const std::uint64_t* p) {
  std::uint64_t v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ void store_relaxed(std::uint32_t* p, std::uint32_t v) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}
__device__ __forceinline__ void store_relaxed(std::uint64_t* p, std::uint64_t v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

// 16 bytes past L1, for what other blocks write while this kernel runs (after an acquire). [ld.global.cg.v4]
__device__ __forceinline__ uint4 load_cg(const void* p) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}

// 16 bytes to L2. [st.global.cg.v4]
__device__ __forceinline__ void store_cg(void* p, uint4 v) {
  asm volatile("st.global.cg.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}

// Lets a spinning thread rest for about so many nanoseconds (at most 2^20). [nanosleep]
__device__ __forceinline__ void pause(std::uint32_t nanoseconds) {
  asm volatile("nanosleep.u32 %0;" ::"r"(nanoseconds) : "memory");
}

// --- Named barriers
// -----------------------------------------------------------------------------------------------------

// Waits until `threads` threads (a multiple of 32) have come to barrier `id` (1..15; 0 is __syncthreads), counting
// those that only arrive. [bar.sync, bar.arrive]
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace musicstar::cuda
#endif
