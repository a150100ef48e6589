#include "emulated_gpu/memory_faults.h"

#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "emulated_gpu/device_memory.h"
#include "emulated_gpu/machine.h"

namespace musicstar::emulated_gpu {

namespace {

void (*abandon_fiber)(const std::string&) = nullptr;
void* fault_address = nullptr;

#if defined(__x86_64__) && defined(__linux__)

// Where the interrupted thread continues: on its own stack, out of the signal handler.
void continue_after_fault() {
  static std::string text;  // nothing on this stack is destroyed any more
  text = describe_address(fault_address);
  abandon_fiber(text);
  std::abort();
}

void on_memory_fault(int signal, siginfo_t* info, void* context) {
  if (!current) {  // not a kernel's: the usual end
    ::signal(signal, SIG_DFL);
    return;
  }
  fault_address = info->si_addr;
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  // Below the red zone, and as aligned as after a call.
  registers[REG_RSP] = ((registers[REG_RSP] - 256) & ~greg_t{15}) - 8;
  registers[REG_RIP] = reinterpret_cast<greg_t>(continue_after_fault);
}

#endif

}  // namespace

MemoryFaultGuard::MemoryFaultGuard(void (*abandon)(const std::string&)) {
  abandon_fiber = abandon;
#if defined(__x86_64__) && defined(__linux__)
  static std::vector<char> stack(64 * 1024);
  stack_t mine = {};
  mine.ss_sp = stack.data();
  mine.ss_size = stack.size();
  sigaltstack(&mine, &before_stack_);
  struct sigaction action = {};
  action.sa_sigaction = on_memory_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &before_segv_);
  sigaction(SIGBUS, &action, &before_bus_);
#endif
}

MemoryFaultGuard::~MemoryFaultGuard() {
#if defined(__x86_64__) && defined(__linux__)
  sigaction(SIGSEGV, &before_segv_, nullptr);
  sigaction(SIGBUS, &before_bus_, nullptr);
  sigaltstack(&before_stack_, nullptr);
#endif
}

}  // namespace musicstar::emulated_gpu
