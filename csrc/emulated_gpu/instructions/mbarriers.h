// csrc/cuda/instructions/mbarriers.cuh for the emulated GPU.
#pragma once

#include <cuda.h>

#include "emulated_gpu/machine.h"

namespace musicstar::cuda {

using Mbarrier = std::uint64_t;

void mbarrier_init(Mbarrier* barrier, std::uint32_t arrivals);
void mbarrier_invalidate(Mbarrier* barrier);
inline void fence_mbarrier_init() {}
inline void fence_proxy_async() { emulated_gpu::current->block->publish(); }
void mbarrier_arrive(Mbarrier* barrier);
void mbarrier_arrive_expect(Mbarrier* barrier, std::uint32_t bytes);
bool mbarrier_try_wait(Mbarrier* barrier, std::uint32_t parity);
inline bool mbarrier_try_wait_cluster(Mbarrier* barrier, std::uint32_t parity) {
  return mbarrier_try_wait(barrier, parity);
}
inline void mbarrier_wait(Mbarrier* barrier, std::uint32_t parity) {
  while (!mbarrier_try_wait(barrier, parity)) {
  }
}
inline void mbarrier_wait_cluster(Mbarrier* barrier, std::uint32_t parity) { mbarrier_wait(barrier, parity); }
void cp_async_mbarrier_arrive_noinc(Mbarrier* barrier);

void bulk_copy(void* shared, const void* global, std::uint32_t bytes, Mbarrier* barrier);
void bulk_store(void* global, const void* shared, std::uint32_t bytes);
void tensor_copy_3d(void* shared, const CUtensorMap* map, int x, int y, int z, Mbarrier* barrier);
void tensor_store_3d(const CUtensorMap* map, int x, int y, int z, const void* shared);
inline void prefetch_tensor_map(const CUtensorMap*) {}
inline void bulk_commit() { emulated_gpu::current->bulk_stores.commit(); }
template <int N>
void bulk_wait() {
  emulated_gpu::current->bulk_stores.wait(N);
}
template <int N>
void bulk_wait_read() {
  emulated_gpu::current->bulk_stores.wait(N);
}

}  // namespace musicstar::cuda
