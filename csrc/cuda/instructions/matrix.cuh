// Tensor-core products of a warp and the loads that shape their operands.
//
// mma_bf16_m16n8k16: d[16][8] += a[16][16] b[16][8]. With group = lane / 4 and pair = 2 (lane % 4), a lane holds
//   a[0] = (group, pair..pair+1)      a[1] = (group + 8, pair..pair+1)
//   a[2] = (group, pair + 8..+9)      a[3] = (group + 8, pair + 8..+9)
//   b[0] = (pair..pair+1, group)      b[1] = (pair + 8..+9, group)                 (row k, column n)
//   d[0], d[1] = (group, pair..pair+1)                    d[2], d[3] = (group + 8, pair..pair+1)
// two bf16 to a register, the lower index in the lower half.
//
// ldmatrix_xN: N matrices of 8 x 8 bf16. Lane 8 m + r gives the address of row r of matrix m (16 bytes, aligned to 16);
// register m of a lane then holds (group, pair..pair+1) of matrix m, or, transposed, (pair..pair+1, group).
#pragma once

#include "cuda/instructions/everyday.cuh"

#ifdef MUSICSTAR_EMULATED_GPU
#include "emulated_gpu/instructions/matrix.h"
#else

namespace musicstar::cuda {

// [mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32]
__device__ __forceinline__ void mma_bf16_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                                  const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// [ldmatrix.sync.aligned.m8n8.x4.shared.b16]
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}

// [ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16]
__device__ __forceinline__ void ldmatrix_x4_transposed(std::uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}

// Lanes 0..15 give the addresses; the others' must be valid as well. [ldmatrix.sync.aligned.m8n8.x2.shared.b16]
__device__ __forceinline__ void ldmatrix_x2(std::uint32_t (&d)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(d[0]), "=r"(d[1])
               : "r"(shared_address(row))
               : "memory");
}

// [ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16]
__device__ __forceinline__ void ldmatrix_x2_transposed(std::uint32_t (&d)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(d[0]), "=r"(d[1])
               : "r"(shared_address(row))
               : "memory");
}

// The reverse of ldmatrix_x4: registers to rows. sm_90. [stmatrix.sync.aligned.m8n8.x4.shared.b16]
__device__ __forceinline__ void stmatrix_x4(void* row, const std::uint32_t (&s)[4]) {
#ifdef MUSICSTAR_SM90
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)), "r"(s[0]),
               "r"(s[1]), "r"(s[2]), "r"(s[3])
               : "memory");
#else
  unavailable();
#endif
}

// [stmatrix.sync.aligned.m8n8.x4.trans.shared.b16]
__device__ __forceinline__ void stmatrix_x4_transposed(void* row, const std::uint32_t (&s)[4]) {
#ifdef MUSICSTAR_SM90
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
               "r"(s[0]), "r"(s[1]), "r"(s[2]), "r"(s[3])
               : "memory");
#else
  unavailable();
#endif
}

}  // namespace musicstar::cuda
#endif
