// Asynchronous copies from global to shared memory, thread by thread. A thread's copies belong to the group that its
// next commit closes; after cp_async_wait<N> all but its newest N groups have landed for that thread, and after a
// barrier for the others.
#pragma once

#include "cuda/instructions/everyday.cuh"

#ifdef MUSICSTAR_EMULATED_GPU
#include "emulated_gpu/instructions/copies.h"
#else

namespace musicstar::cuda {

// 16 bytes, both sides aligned to 16, past L1; zeros where not `valid` (the global address is then not read).
// [cp.async.cg.shared.global]
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}

// 8 bytes, aligned to 8. [cp.async.ca.shared.global]
__device__ __forceinline__ void cp_async_8(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 8 : 0)
               : "memory");
}

// 4 bytes, aligned to 4. [cp.async.ca.shared.global]
__device__ __forceinline__ void cp_async_4(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 4 : 0)
               : "memory");
}

// [cp.async.commit_group]
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the newest N groups are under way. [cp.async.wait_group]
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

}  // namespace musicstar::cuda
#endif
