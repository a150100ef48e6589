#include "cuda/instructions/mbarriers.cuh"

#include "emulated_gpu/instructions/bulk.h"
#include "emulated_gpu/tensor_maps.h"

namespace musicstar::cuda {

using emulated_gpu::check_aligned;
using emulated_gpu::check_shared;
using emulated_gpu::current;
using emulated_gpu::fault;
using emulated_gpu::machine;

void mbarrier_init(Mbarrier* barrier, std::uint32_t arrivals) {
  check_shared(barrier, 8, 8, "mbarrier.init");
  if (arrivals == 0 || arrivals >= 1u << 20) fault("mbarrier.init: the number of arrivals must be 1 to 2^20 - 1");
  auto& made = machine.new_mbarrier(barrier);
  made.expected = made.pending = arrivals;
}

void mbarrier_invalidate(Mbarrier* barrier) { machine.forget_mbarrier(barrier); }

void mbarrier_arrive(Mbarrier* barrier) { emulated_gpu::arrive(machine.mbarrier_at(barrier)); }

void mbarrier_arrive_expect(Mbarrier* barrier, std::uint32_t bytes) {
  auto& object = machine.mbarrier_at(barrier);
  object.bytes += bytes;
  emulated_gpu::arrive(object);
}

bool mbarrier_try_wait(Mbarrier* barrier, std::uint32_t parity) {
  if (parity > 1) fault("mbarrier.try_wait: the parity must be 0 or 1");
  check_shared(barrier, 8, 8, "mbarrier.try_wait");  // of the thread's own block
  const auto& object = machine.mbarrier_at(barrier);
  if ((object.phase & 1) != parity) return true;
  return (machine.poll("mbarrier.try_wait", &object.phase, sizeof object.phase) & 1) != parity;
}

void cp_async_mbarrier_arrive_noinc(Mbarrier* barrier) {
  auto& object = machine.mbarrier_at(barrier);
  emulated_gpu::Deeds before = current->copies.open;
  for (const auto& group : current->copies.closed) before.insert(before.end(), group.begin(), group.end());
  machine.begin([&object, before] {
    for (const auto& deed : before) deed->complete();
    emulated_gpu::arrive(object);
  });
}

namespace {

void check_bulk(const void* shared, const void* global, std::uint32_t bytes, const char* name) {
  if (bytes % 16 != 0) fault(std::string(name) + ": the number of bytes must be a multiple of 16");
  check_shared(shared, bytes, 16, name);
  check_aligned(global, 16, name);
}

}  // namespace

void bulk_copy(void* shared, const void* global, std::uint32_t bytes, Mbarrier* barrier) {
  check_bulk(shared, global, bytes, "cp.async.bulk");
  emulated_gpu::begin_bulk(machine.mbarrier_at(barrier), *current->block, shared, bytes,
                           [=] { std::memcpy(shared, global, bytes); });
}

void bulk_store(void* global, const void* shared, std::uint32_t bytes) {
  check_bulk(shared, global, bytes, "cp.async.bulk");
  const char* seen = static_cast<const char*>(shared) + current->block->view();
  current->bulk_stores.open.push_back(machine.begin_waited([=] { std::memcpy(global, seen, bytes); }));
}

void tensor_copy_3d(void* shared, const CUtensorMap* map, int x, int y, int z, Mbarrier* barrier) {
  const auto box = emulated_gpu::box_at(*map, x, y, z);
  check_shared(shared, box.bytes(), box.shared_alignment(), "cp.async.bulk.tensor");
  emulated_gpu::begin_bulk(machine.mbarrier_at(barrier), *current->block, shared, box.bytes(),
                           [=] { box.load(static_cast<char*>(shared)); });
}

void tensor_store_3d(const CUtensorMap* map, int x, int y, int z, const void* shared) {
  const auto box = emulated_gpu::box_at(*map, x, y, z);
  check_shared(shared, box.bytes(), box.shared_alignment(), "cp.async.bulk.tensor");
  const char* seen = static_cast<const char*>(shared) + current->block->view();  // as aligned as `shared` is
  current->bulk_stores.open.push_back(machine.begin_waited([=] { box.store(seen); }));
}

}  // namespace musicstar::cuda
