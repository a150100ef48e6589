// csrc/cuda/instructions/clusters.cuh for the emulated GPU.
#pragma once

#include "emulated_gpu/machine.h"

namespace musicstar::cuda {

inline std::uint32_t cluster_rank() { return emulated_gpu::current->block->rank; }
inline std::uint32_t cluster_size() {
  return static_cast<std::uint32_t>(emulated_gpu::current->block->cluster->blocks.size());
}
void cluster_arrive();
void cluster_wait();
inline void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

// The same place in block `rank`.
void* map_shared_place(const void* pointer, std::uint32_t rank);
template <typename T>
T* map_shared(T* pointer, std::uint32_t rank) {
  return static_cast<T*>(map_shared_place(pointer, rank));
}

struct RemoteAddress {
  char* value = nullptr;
  RemoteAddress operator+(std::uint32_t bytes) const { return {value + bytes}; }
};
inline RemoteAddress remote_address(const void* pointer, std::uint32_t rank) {
  return {static_cast<char*>(map_shared_place(pointer, rank))};
}

void mbarrier_arrive_remote(RemoteAddress barrier);
void store_remote_async(RemoteAddress to, std::uint32_t value, RemoteAddress barrier);
void store_remote_async(RemoteAddress to, uint2 value, RemoteAddress barrier);
void store_remote_async(RemoteAddress to, uint4 value, RemoteAddress barrier);
void store_remote(RemoteAddress to, std::uint32_t value);
void store_remote(RemoteAddress to, uint4 value);
std::uint32_t load_remote(RemoteAddress from);
uint4 load_remote_16(RemoteAddress from);
void bulk_copy_remote(RemoteAddress to, const void* shared, std::uint32_t bytes, RemoteAddress barrier);

}  // namespace musicstar::cuda
