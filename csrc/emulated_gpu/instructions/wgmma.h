// csrc/cuda/instructions/wgmma.cuh for the emulated GPU. Each warp of a group computes its 16 rows; the product happens
// when it is waited for, or at once (control.h).
#pragma once

#include "emulated_gpu/machine.h"

namespace musicstar::emulated_gpu {

// d (16 x n of the calling warp, N/2 registers a lane) = a b (+ d). `a_registers` or descriptor `a`.
void multiply_warpgroup(int n, float* d, std::uint64_t a, const std::uint32_t* a_registers, bool transposed_a,
                        std::uint64_t b, bool transposed_b, bool accumulate);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(unsigned pending);
void set_registers(int registers);

}  // namespace musicstar::emulated_gpu

namespace musicstar::cuda {

std::uint64_t shared_descriptor(const void* pointer, std::uint32_t leading, std::uint32_t stride,
                                Swizzle swizzle = Swizzle::k128);
inline void wgmma_fence() { emulated_gpu::wgmma_fence(); }
inline void wgmma_commit() { emulated_gpu::wgmma_commit(); }
template <int Pending>
void wgmma_wait() {
  emulated_gpu::wgmma_wait(Pending);
}
template <int Count>
void keep_registers(float (&)[Count]) {}
template <int Registers>
void setmaxnreg_increase() {
  emulated_gpu::set_registers(Registers);
}
template <int Registers>
void setmaxnreg_decrease() {
  emulated_gpu::set_registers(Registers);
}
template <int N, bool TransposedA = false, bool TransposedB = false>
void wgmma_bf16(float (&d)[N / 2], std::uint64_t a, std::uint64_t b, bool accumulate = true) {
  static_assert(N == 32 || N == 64 || N == 128 || N == 256, "N must be 32, 64, 128 or 256");
  emulated_gpu::multiply_warpgroup(N, d, a, nullptr, TransposedA, b, TransposedB, accumulate);
}
template <int N, bool TransposedB = false>
void wgmma_bf16_registers(float (&d)[N / 2], const std::uint32_t (&a)[4], std::uint64_t b, bool accumulate = true) {
  static_assert(N == 32 || N == 64 || N == 128 || N == 256, "N must be 32, 64, 128 or 256");
  emulated_gpu::multiply_warpgroup(N, d, 0, a, false, b, TransposedB, accumulate);
}

}  // namespace musicstar::cuda
