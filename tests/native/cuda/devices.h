// Tests on a GPU: they need one, real or emulated, and an emulated one runs them in several schedules.
#pragma once

#include <doctest/doctest.h>

#include "cuda/usable_device.h"
#ifdef MUSICSTAR_EMULATED_GPU
#include "emulated_gpu/control.h"
#endif

namespace musicstar::tests {

// Whether there is a GPU, emulated or real; says so where not.
inline bool gpu_at_hand() {
  try {
    cuda::usable_device(0);
    return true;
  } catch (const cuda::Error& error) {
    MESSAGE("skipped: ", error.what());
    return false;
  }
}

// Calls test() in every kind of order in which an emulated GPU can run threads and asynchronous copies; on a real one
// once.
template <class Test>
void on_every_schedule(const Test& test) {
#ifdef MUSICSTAR_EMULATED_GPU
  struct Restored {
    emulated_gpu::Schedule before = emulated_gpu::schedule();
    ~Restored() { emulated_gpu::set_schedule(before); }
  } const restored;
  for (const char* name : {"proxies", "reverse", "early", "random:1"}) {
    CAPTURE(std::string(name));
    emulated_gpu::set_schedule(std::string(name));
    test();
  }
#else
  test();
#endif
}

}  // namespace musicstar::tests
