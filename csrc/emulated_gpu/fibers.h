// Many small stacks on one operating-system thread, switched by hand: each CUDA thread of a block is one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace musicstar::emulated_gpu {

// A stack and where its computation stands. Starts in `entry(argument)`, which must never return: it ends by switching
// away for good.
class Fiber {
 public:
  // Begins anew on the stack `number` of the pool.
  void start(std::size_t number, void (*entry)(void*), void* argument);
  // The first thing that `entry` calls.
  static void entered();
  // From the scheduler into the fiber, until it leaves.
  void enter();
  // From the fiber back to the scheduler. `for_good`: it will not be entered again.
  void leave(bool for_good = false);
  // Whether the stack has overflowed, as far as can be told.
  bool overflowed() const;

 private:
  void* here_ = nullptr;   // the fiber's stack pointer, or context, while it is away
  void* there_ = nullptr;  // the scheduler's
  char* lowest_ = nullptr;
  void* sanitizer_stack_ = nullptr;
};

}  // namespace musicstar::emulated_gpu
