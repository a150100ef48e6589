// Accesses outside device memory: noticed by the processor (device_memory.h puts unmapped pages around allocations),
// reported like any other mistake of a kernel.
#pragma once

#include <signal.h>

#include <string>

namespace musicstar::emulated_gpu {

// While it lives, an access of a fiber to memory that is not there calls `abandon` with a description, on the fiber's
// stack; `abandon` does not return. Elsewhere than on x86-64 Linux the process ends, as it does without it.
class MemoryFaultGuard {
 public:
  explicit MemoryFaultGuard(void (*abandon)(const std::string&));
  ~MemoryFaultGuard();
  MemoryFaultGuard(const MemoryFaultGuard&) = delete;
  MemoryFaultGuard& operator=(const MemoryFaultGuard&) = delete;

 private:
  struct sigaction before_segv_ = {}, before_bus_ = {};
  stack_t before_stack_ = {};
};

}  // namespace musicstar::emulated_gpu
