// mbarrier objects and the bulk copies that report to them (sm_90).
//
// An mbarrier (8 bytes of shared memory, aligned to 8) runs through phases. A phase ends when its expected number of
// arrivals has come and as many bytes have landed as were announced; the next begins with the same number expected. A
// waiter names the parity of the phase whose end it waits for: 0 for the first, 1 for the second, 0 for the third ...
//
// One thread initialises, then fence_mbarrier_init() and a block (or cluster) barrier before others use it. Data that
// ordinary stores wrote to shared memory needs fence_proxy_async() by the writers, then a barrier, before a bulk store
// or wgmma reads it.
#pragma once

#include "cuda/instructions/everyday.cuh"
#ifdef MUSICSTAR_EMULATED_GPU
#include "emulated_gpu/instructions/mbarriers.h"
#else
#include <cuda.h>

namespace musicstar::cuda {

using Mbarrier = std::uint64_t;

// A phase ends after `arrivals` arrivals. [mbarrier.init]
__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, std::uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Its memory may then be used for something else. [mbarrier.inval]
__device__ __forceinline__ void mbarrier_invalidate(Mbarrier* barrier) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Makes initialised barriers known to the other blocks of the cluster and to bulk copies.
// [fence.mbarrier_init.release.cluster]
__device__ __forceinline__ void fence_mbarrier_init() {
#ifdef MUSICSTAR_SM90
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  unavailable();
#endif
}

// Orders this thread's ordinary accesses to memory before later ones by bulk copies and wgmma. [fence.proxy.async]
__device__ __forceinline__ void fence_proxy_async() {
#ifdef MUSICSTAR_SM90
  asm volatile("fence.proxy.async;" ::: "memory");
#else
  unavailable();
#endif
}

// One arrival. [mbarrier.arrive]
__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier) {
  asm volatile("{.reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [%0];}" ::"r"(shared_address(barrier))
               : "memory");
}

// One arrival that announces `bytes` more bytes for this phase. [mbarrier.arrive.expect_tx]
__device__ __forceinline__ void mbarrier_arrive_expect(Mbarrier* barrier, std::uint32_t bytes) {
#ifdef MUSICSTAR_SM90
  asm volatile(
      "{.reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;}" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
#else
  unavailable();
#endif
}

// Whether the phase with this parity has ended; may wait a while for it. [mbarrier.try_wait.parity]
__device__ __forceinline__ bool mbarrier_try_wait(Mbarrier* barrier, std::uint32_t parity) {
#ifdef MUSICSTAR_SM90
  std::uint32_t done;
  asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p;}"
               : "=r"(done)
               : "r"(shared_address(barrier)), "r"(parity)
               : "memory");
  return done != 0;
#else
  unavailable();
  return false;
#endif
}

// The same, seeing what other blocks of the cluster wrote before they arrived or as they signalled.
// [mbarrier.try_wait.parity.acquire.cluster]
__device__ __forceinline__ bool mbarrier_try_wait_cluster(Mbarrier* barrier, std::uint32_t parity) {
#ifdef MUSICSTAR_SM90
  std::uint32_t done;
  asm volatile(
      "{.reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p;}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return done != 0;
#else
  unavailable();
  return false;
#endif
}

__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, std::uint32_t parity) {
  while (!mbarrier_try_wait(barrier, parity)) {
  }
}

__device__ __forceinline__ void mbarrier_wait_cluster(Mbarrier* barrier, std::uint32_t parity) {
  while (!mbarrier_try_wait_cluster(barrier, parity)) {
  }
}

// One arrival when all cp.async that this thread has issued so far have landed; counts among the expected arrivals.
// [cp.async.mbarrier.arrive.noinc]
__device__ __forceinline__ void cp_async_mbarrier_arrive_noinc(Mbarrier* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// --- Bulk copies: addresses and sizes are multiples of 16 bytes; issued by one thread
// -----------------------------------

// Global to this block's shared memory; the bytes count at `barrier`. [cp.async.bulk.shared::cluster.global]
__device__ __forceinline__ void bulk_copy(void* shared, const void* global, std::uint32_t bytes, Mbarrier* barrier) {
#ifdef MUSICSTAR_SM90
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(shared)),
               "l"(global), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
#else
  unavailable();
#endif
}

// Shared to global memory, in the group that the next bulk_commit closes. [cp.async.bulk.global.shared::cta]
__device__ __forceinline__ void bulk_store(void* global, const void* shared, std::uint32_t bytes) {
#ifdef MUSICSTAR_SM90
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(shared_address(shared)),
               "r"(bytes)
               : "memory");
#else
  unavailable();
#endif
}

// A box of a tensor (make_tensor_map_3d) whose first element is (x, y, z), x the contiguous index; elements outside are
// zero and count among the bytes. `shared` is aligned to 128 bytes, to 1024 with the 128-byte swizzle.
// [cp.async.bulk.tensor.3d.shared::cluster.global.tile]
__device__ __forceinline__ void tensor_copy_3d(void* shared, const CUtensorMap* map, int x, int y, int z,
                                               Mbarrier* barrier) {
#ifdef MUSICSTAR_SM90
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(shared_address(shared)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
      : "memory");
#else
  unavailable();
#endif
}

// The reverse, in the group that the next bulk_commit closes; elements outside are left out.
// [cp.async.bulk.tensor.3d.global.shared::cta.tile]
__device__ __forceinline__ void tensor_store_3d(const CUtensorMap* map, int x, int y, int z, const void* shared) {
#ifdef MUSICSTAR_SM90
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(map),
               "r"(x), "r"(y), "r"(z), "r"(shared_address(shared))
               : "memory");
#else
  unavailable();
#endif
}

// [prefetch.tensormap]
__device__ __forceinline__ void prefetch_tensor_map(const CUtensorMap* map) {
#ifdef MUSICSTAR_SM90
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#else
  unavailable();
#endif
}

// Closes a group of this thread's bulk stores. [cp.async.bulk.commit_group]
__device__ __forceinline__ void bulk_commit() {
#ifdef MUSICSTAR_SM90
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  unavailable();
#endif
}

// Waits until all but this thread's newest N groups are complete. [cp.async.bulk.wait_group]
template <int N>
__device__ __forceinline__ void bulk_wait() {
#ifdef MUSICSTAR_SM90
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
#else
  unavailable();
#endif
}

// The same, until they have read their shared memory, which may then be written again. [cp.async.bulk.wait_group.read]
template <int N>
__device__ __forceinline__ void bulk_wait_read() {
#ifdef MUSICSTAR_SM90
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
#else
  unavailable();
#endif
}

}  // namespace musicstar::cuda
#endif
