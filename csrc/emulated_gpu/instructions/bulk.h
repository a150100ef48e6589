// What bulk copies and remote stores have in common: bytes that land later and count at an mbarrier.
#pragma once

#include <utility>

#include "emulated_gpu/machine.h"

namespace musicstar::emulated_gpu {

inline void arrive(Mbarrier& barrier) {
  if (barrier.pending == 0) fault("more arrivals at an mbarrier than it expects in a phase");
  --barrier.pending;
  machine.settle(barrier);
}

// `act` writes the `bytes` at `shared` in the memory of `target`, where `barrier` must lie as well.
template <typename Act>
void begin_bulk(Mbarrier& barrier, Block& target, void* shared, std::size_t bytes, Act&& act) {
  if (barrier.block != &target) fault("a copy into one block's shared memory counts at another block's mbarrier");
  ++target.asynchronous;
  machine.begin([&barrier, &target, shared, bytes, act = std::forward<Act>(act)] {
    act();
    if (target.view()) std::memcpy(static_cast<char*>(shared) + target.view(), shared, bytes);
    --target.asynchronous;
    barrier.bytes -= static_cast<std::int64_t>(bytes);
    machine.progressed();
    machine.settle(barrier);
  });
}

}  // namespace musicstar::emulated_gpu
