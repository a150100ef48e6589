// Products of a warpgroup (four warps, the first a multiple of four; sm_90a) and the split of registers between groups.
//
// wgmma_bf16<N>: d[64][N] (+)= a[64][16] b[16][N], bf16 operands in shared memory (a also in registers), fp32 sums.
// Warp w of the group holds rows 16 w .. 16 w + 15; with group = lane / 4 and pair = 2 (lane % 4)
//   d[4 j + 0, 1] = (16 w + group, 8 j + pair..+1)      d[4 j + 2, 3] = (16 w + group + 8, 8 j + pair..+1)
//   a[0..3] in registers: as for mma_bf16_m16n8k16, rows 16 w + ...
// It runs asynchronously: wgmma_fence() before the first and after registers were written by other means,
// wgmma_commit() closes a group, wgmma_wait<P>() until at most the newest P groups are under way. Until then nobody
// touches d, the registers of a, or the operands' shared memory; d stays one array that lives that long.
//
// Operands in shared memory are described by 64 bits. Both are made of atoms of 8 rows of `swizzle` bytes (tiles that
// are written by tensor copies with the same swizzle; aligned to 1024 bytes for k128), stored with the 16-byte piece p
// of row r at piece p ^ (r % 8) for k128:
//   K-major (default; a as [64][k], b as [N][k], k contiguous): rows are m or n. `stride` bytes from 8 rows to the next
//   8;
//     `leading` is not used with a swizzle. The next 16 of k are 32 bytes on (add 32 to the pointer).
//   MN-major ("transposed": a as [k][64], b as [k][N], m or n contiguous): rows are k. `stride` bytes from 8 k to the
//   next
//     8, `leading` from one piece of 64 m or n (k128) to the next.
// Without swizzle (kNone) the atoms are 8 rows of 16 bytes, contiguous (128 bytes); K-major: `leading` from 8 of k to
// the next 8, `stride` from 8 rows to the next 8. MN-major: `stride` from 8 of m or n to the next 8, `leading` from 8 k
// to the next.
#pragma once

#include "cuda/instructions/mbarriers.cuh"

namespace musicstar::cuda {

enum class Swizzle : std::uint64_t { kNone = 0, k128 = 1, k64 = 2, k32 = 3 };  // as the descriptor numbers them

}  // namespace musicstar::cuda

#ifdef MUSICSTAR_EMULATED_GPU
#include "emulated_gpu/instructions/wgmma.h"
#else

namespace musicstar::cuda {

// Describes an operand in shared memory (above); offsets are multiples of 16 bytes.
__device__ __forceinline__ std::uint64_t shared_descriptor(const void* pointer, std::uint32_t leading,
                                                           std::uint32_t stride, Swizzle swizzle = Swizzle::k128) {
  return static_cast<std::uint64_t>((shared_address(pointer) & 0x3ffffu) >> 4) |
         static_cast<std::uint64_t>((leading & 0x3ffffu) >> 4) << 16 |
         static_cast<std::uint64_t>((stride & 0x3ffffu) >> 4) << 32 | static_cast<std::uint64_t>(swizzle) << 62;
}

// [wgmma.fence.sync.aligned]
__device__ __forceinline__ void wgmma_fence() {
#ifdef MUSICSTAR_SM90A
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  unavailable();
#endif
}

// [wgmma.commit_group.sync.aligned]
__device__ __forceinline__ void wgmma_commit() {
#ifdef MUSICSTAR_SM90A
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  unavailable();
#endif
}

// [wgmma.wait_group.sync.aligned]
template <int Pending>
__device__ __forceinline__ void wgmma_wait() {
#ifdef MUSICSTAR_SM90A
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
#else
  unavailable();
#endif
}

// Keeps the compiler from moving uses of registers across this point: on d and a before wgmma_fence, on d after
// wgmma_wait.
template <int Count>
__device__ __forceinline__ void keep_registers(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Gives or takes registers so that each thread of the warpgroup has `Registers` (a multiple of 8, 24..256); all its
// warps call it. The compiler ignores it unless the kernel's __launch_bounds__ name threads and blocks, which fixes the
// registers at entry. [setmaxnreg.inc.sync.aligned, setmaxnreg.dec.sync.aligned]
template <int Registers>
__device__ __forceinline__ void setmaxnreg_increase() {
#ifdef MUSICSTAR_SM90A
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
#else
  unavailable();
#endif
}
template <int Registers>
__device__ __forceinline__ void setmaxnreg_decrease() {
#ifdef MUSICSTAR_SM90A
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
#else
  unavailable();
#endif
}

}  // namespace musicstar::cuda

#ifdef MUSICSTAR_SM90A

// The accumulators as operands %0 .. %k-1, and as constraints.
#define MUSICSTAR_D16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define MUSICSTAR_D32 \
  MUSICSTAR_D16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define MUSICSTAR_D64                                                                \
  MUSICSTAR_D32                                                                      \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define MUSICSTAR_D128                                                                           \
  MUSICSTAR_D64                                                                                  \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define MUSICSTAR_R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define MUSICSTAR_R16(i) MUSICSTAR_R4(i), MUSICSTAR_R4(i + 4), MUSICSTAR_R4(i + 8), MUSICSTAR_R4(i + 12)
#define MUSICSTAR_R32(i) MUSICSTAR_R16(i), MUSICSTAR_R16(i + 16)
#define MUSICSTAR_R64(i) MUSICSTAR_R32(i), MUSICSTAR_R32(i + 32)
#define MUSICSTAR_R128(i) MUSICSTAR_R64(i), MUSICSTAR_R64(i + 64)

// For k accumulators: the numbers of the operands that follow them.
#define MUSICSTAR_WGMMA(n, k, a0, a1, a2, a3, a4)                                                            \
  if constexpr (N == n) {                                                                                    \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" #a2 ", 0; wgmma.mma_async.sync.aligned.m64n" #n           \
                 "k16.f32.bf16.bf16 {" MUSICSTAR_D##k "}, %" #a0 ", %" #a1 ", p, 1, 1, %" #a3 ", %" #a4 ";}" \
                 : MUSICSTAR_R##k(0)                                                                         \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(TransposedA)),    \
                   "n"(static_cast<int>(TransposedB))                                                        \
                 : "memory");                                                                                \
  }
#define MUSICSTAR_WGMMA_RS(n, k, a0, a1, a2, a3, a4, a5, a6)                                               \
  if constexpr (N == n) {                                                                                  \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" #a5 ", 0; wgmma.mma_async.sync.aligned.m64n" #n         \
                 "k16.f32.bf16.bf16 {" MUSICSTAR_D##k "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #a4 \
                                                      ", p, 1, 1, %" #a6 ";}"                              \
                 : MUSICSTAR_R##k(0)                                                                       \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),  \
                   "n"(static_cast<int>(TransposedB))                                                      \
                 : "memory");                                                                              \
  }
#endif

namespace musicstar::cuda {

// d = a b + (accumulate ? d : 0), N in {32, 64, 128, 256}. [wgmma.mma_async.sync.aligned.m64nNk16.f32.bf16.bf16]
template <int N, bool TransposedA = false, bool TransposedB = false>
__device__ __forceinline__ void wgmma_bf16(float (&d)[N / 2], std::uint64_t a, std::uint64_t b,
                                           bool accumulate = true) {
  static_assert(N == 32 || N == 64 || N == 128 || N == 256, "N must be 32, 64, 128 or 256");
#ifdef MUSICSTAR_SM90A
  MUSICSTAR_WGMMA(32, 16, 16, 17, 18, 19, 20)
  MUSICSTAR_WGMMA(64, 32, 32, 33, 34, 35, 36)
  MUSICSTAR_WGMMA(128, 64, 64, 65, 66, 67, 68)
  MUSICSTAR_WGMMA(256, 128, 128, 129, 130, 131, 132)
#else
  unavailable();
#endif
}

// The same with a in registers.
template <int N, bool TransposedB = false>
__device__ __forceinline__ void wgmma_bf16_registers(float (&d)[N / 2], const std::uint32_t (&a)[4], std::uint64_t b,
                                                     bool accumulate = true) {
  static_assert(N == 32 || N == 64 || N == 128 || N == 256, "N must be 32, 64, 128 or 256");
#ifdef MUSICSTAR_SM90A
  MUSICSTAR_WGMMA_RS(32, 16, 16, 17, 18, 19, 20, 21, 22)
  MUSICSTAR_WGMMA_RS(64, 32, 32, 33, 34, 35, 36, 37, 38)
  MUSICSTAR_WGMMA_RS(128, 64, 64, 65, 66, 67, 68, 69, 70)
  MUSICSTAR_WGMMA_RS(256, 128, 128, 129, 130, 131, 132, 133, 134)
#else
  unavailable();
#endif
}

}  // namespace musicstar::cuda
#endif
