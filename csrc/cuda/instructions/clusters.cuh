// Blocks of a cluster and their shared memory (sm_90).
//
// A RemoteAddress names a place in the shared memory of one block of the cluster: the place where that block has what
// this one has at `pointer`. No block may exit while others still reach into its shared memory: cluster_arrive and
// cluster_wait at the end.
#pragma once

#include "cuda/instructions/mbarriers.cuh"

#ifdef MUSICSTAR_EMULATED_GPU
#include "emulated_gpu/instructions/clusters.h"
#else

namespace musicstar::cuda {

// [%cluster_ctarank]
__device__ __forceinline__ std::uint32_t cluster_rank() {
#ifdef MUSICSTAR_SM90
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  unavailable();
  return 0;
#endif
}

// [%cluster_nctarank]
__device__ __forceinline__ std::uint32_t cluster_size() {
#ifdef MUSICSTAR_SM90
  std::uint32_t size;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
#else
  unavailable();
  return 0;
#endif
}

// All threads of all blocks of the cluster arrive, then wait. [barrier.cluster.arrive.release, .wait.acquire]
__device__ __forceinline__ void cluster_arrive() {
#ifdef MUSICSTAR_SM90
  __syncwarp();  // whatever the lanes did apart before: the instruction wants them together
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#else
  unavailable();
#endif
}
__device__ __forceinline__ void cluster_wait() {
#ifdef MUSICSTAR_SM90
  __syncwarp();
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  unavailable();
#endif
}
__device__ __forceinline__ void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

// An ordinary pointer to block `rank`'s copy of what `pointer` (to this block's shared memory) names. [mapa]
template <typename T>
__device__ __forceinline__ T* map_shared(T* pointer, std::uint32_t rank) {
#ifdef MUSICSTAR_SM90
  std::uint64_t mapped;
  asm volatile("mapa.u64 %0, %1, %2;" : "=l"(mapped) : "l"(pointer), "r"(rank));
  return reinterpret_cast<T*>(mapped);
#else
  unavailable();
  return pointer;
#endif
}

struct RemoteAddress {
  std::uint32_t value = 0;
  __device__ __forceinline__ RemoteAddress operator+(std::uint32_t bytes) const { return {value + bytes}; }
};

// [mapa.shared::cluster]
__device__ __forceinline__ RemoteAddress remote_address(const void* pointer, std::uint32_t rank) {
#ifdef MUSICSTAR_SM90
  RemoteAddress address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address.value) : "r"(shared_address(pointer)), "r"(rank));
  return address;
#else
  unavailable();
  return {};
#endif
}

// One arrival at another block's mbarrier; what this thread wrote before is seen by who waits there with
// mbarrier_wait_cluster. [mbarrier.arrive.release.cluster.shared::cluster]
__device__ __forceinline__ void mbarrier_arrive_remote(RemoteAddress barrier) {
#ifdef MUSICSTAR_SM90
  asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier.value) : "memory");
#else
  unavailable();
#endif
}

// Stores 4, 8 or 16 bytes (aligned) without waiting; they count as so many bytes at `barrier`, which lies in the same
// block, and who waits there (mbarrier_wait_cluster) sees them. [st.async.weak.shared::cluster.mbarrier::complete_tx]
__device__ __forceinline__ void store_remote_async(RemoteAddress to, std::uint32_t value, RemoteAddress barrier) {
#ifdef MUSICSTAR_SM90
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to.value),
               "r"(value), "r"(barrier.value)
               : "memory");
#else
  unavailable();
#endif
}
__device__ __forceinline__ void store_remote_async(RemoteAddress to, uint2 value, RemoteAddress barrier) {
#ifdef MUSICSTAR_SM90
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(to.value),
      "r"(value.x), "r"(value.y), "r"(barrier.value)
      : "memory");
#else
  unavailable();
#endif
}
__device__ __forceinline__ void store_remote_async(RemoteAddress to, uint4 value, RemoteAddress barrier) {
#ifdef MUSICSTAR_SM90
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to.value),
      "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(barrier.value)
      : "memory");
#else
  unavailable();
#endif
}

// Ordinary stores and loads of 4 and 16 bytes; ordered by cluster barriers. [st.shared::cluster, ld.shared::cluster]
__device__ __forceinline__ void store_remote(RemoteAddress to, std::uint32_t value) {
#ifdef MUSICSTAR_SM90
  asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(to.value), "r"(value) : "memory");
#else
  unavailable();
#endif
}
__device__ __forceinline__ void store_remote(RemoteAddress to, uint4 value) {
#ifdef MUSICSTAR_SM90
  asm volatile("st.shared::cluster.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to.value), "r"(value.x), "r"(value.y),
               "r"(value.z), "r"(value.w)
               : "memory");
#else
  unavailable();
#endif
}
__device__ __forceinline__ std::uint32_t load_remote(RemoteAddress from) {
#ifdef MUSICSTAR_SM90
  std::uint32_t value;
  asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(value) : "r"(from.value) : "memory");
  return value;
#else
  unavailable();
  return 0;
#endif
}
__device__ __forceinline__ uint4 load_remote_16(RemoteAddress from) {
#ifdef MUSICSTAR_SM90
  uint4 v;
  asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(from.value)
               : "memory");
  return v;
#else
  unavailable();
  return make_uint4(0, 0, 0, 0);
#endif
}

// From this block's shared memory to another block's, `bytes` a multiple of 16; they count at the other block's
// `barrier`. [cp.async.bulk.shared::cluster.shared::cta]
__device__ __forceinline__ void bulk_copy_remote(RemoteAddress to, const void* shared, std::uint32_t bytes,
                                                 RemoteAddress barrier) {
#ifdef MUSICSTAR_SM90
  asm volatile(
      "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to.value),
      "r"(shared_address(shared)), "r"(bytes), "r"(barrier.value)
      : "memory");
#else
  unavailable();
#endif
}

}  // namespace musicstar::cuda
#endif
