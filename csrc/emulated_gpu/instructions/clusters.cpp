#include "cuda/instructions/clusters.cuh"

#include <utility>

#include "emulated_gpu/instructions/bulk.h"

namespace musicstar::cuda {

using emulated_gpu::Block;
using emulated_gpu::Cluster;
using emulated_gpu::current;
using emulated_gpu::fault;
using emulated_gpu::machine;

void cluster_arrive() {
  if (current->in_cluster_barrier) fault("barrier.cluster.arrive: twice without a wait");
  Cluster& cluster = *current->block->cluster;
  current->in_cluster_barrier = true;
  current->cluster_phase = cluster.phase;
  if (++cluster.arrived < cluster.unfinished) return;
  cluster.arrived = 0;
  ++cluster.phase;
  machine.progressed();
  for (emulated_gpu::Thread* waiting : std::exchange(cluster.waiting, {})) machine.wake(*waiting);
}

void cluster_wait() {
  if (!current->in_cluster_barrier) fault("barrier.cluster.wait: without an arrive");
  Cluster& cluster = *current->block->cluster;
  if (cluster.phase == current->cluster_phase) {
    cluster.waiting.push_back(current);
    machine.block_here("barrier.cluster.wait");
  }
  current->in_cluster_barrier = false;
}

void* map_shared_place(const void* pointer, std::uint32_t rank) {
  const Block& mine = *current->block;
  if (rank >= mine.cluster->blocks.size()) fault("mapa: the cluster has no block of that rank");
  const char* place = static_cast<const char*>(pointer);
  if (place < mine.shared || place >= mine.shared + emulated_gpu::kSharedWindow) {
    fault("mapa: the address is not in the block's shared memory");
  }
  return mine.cluster->blocks[rank]->shared + (place - mine.shared);
}

void mbarrier_arrive_remote(RemoteAddress barrier) { emulated_gpu::arrive(machine.mbarrier_at(barrier.value)); }

namespace {

template <typename T>
void store_async(RemoteAddress to, T value, RemoteAddress barrier) {
  emulated_gpu::check_aligned(to.value, sizeof(T), "st.async");
  emulated_gpu::begin_bulk(machine.mbarrier_at(barrier.value), machine.block_of_shared(to.value), to.value, sizeof(T),
                           [=] { std::memcpy(to.value, &value, sizeof value); });
}

template <typename T>
void store(RemoteAddress to, T value) {
  emulated_gpu::check_aligned(to.value, sizeof(T), "st.shared::cluster");
  machine.block_of_shared(to.value);
  std::memcpy(to.value, &value, sizeof value);
  machine.progressed();
}

template <typename T>
T load(RemoteAddress from) {
  emulated_gpu::check_aligned(from.value, sizeof(T), "ld.shared::cluster");
  machine.block_of_shared(from.value);
  T value;
  std::memcpy(&value, from.value, sizeof value);
  return value;
}

}  // namespace

void store_remote_async(RemoteAddress to, std::uint32_t value, RemoteAddress barrier) {
  store_async(to, value, barrier);
}
void store_remote_async(RemoteAddress to, uint2 value, RemoteAddress barrier) { store_async(to, value, barrier); }
void store_remote_async(RemoteAddress to, uint4 value, RemoteAddress barrier) { store_async(to, value, barrier); }
void store_remote(RemoteAddress to, std::uint32_t value) { store(to, value); }
void store_remote(RemoteAddress to, uint4 value) { store(to, value); }
std::uint32_t load_remote(RemoteAddress from) { return load<std::uint32_t>(from); }
uint4 load_remote_16(RemoteAddress from) { return load<uint4>(from); }

void bulk_copy_remote(RemoteAddress to, const void* shared, std::uint32_t bytes, RemoteAddress barrier) {
  if (bytes % 16 != 0) fault("cp.async.bulk: the number of bytes must be a multiple of 16");
  emulated_gpu::check_shared(shared, bytes, 16, "cp.async.bulk");
  emulated_gpu::check_aligned(to.value, 16, "cp.async.bulk");
  const char* seen = static_cast<const char*>(shared) + current->block->view();
  emulated_gpu::begin_bulk(machine.mbarrier_at(barrier.value), machine.block_of_shared(to.value), to.value, bytes,
                           [=] { std::memcpy(to.value, seen, bytes); });
}

}  // namespace musicstar::cuda
