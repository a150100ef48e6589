#include "emulated_gpu/fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace musicstar::emulated_gpu {

namespace {

#if defined(MUSICSTAR_SANITIZED) || defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
constexpr std::size_t kStackBytes = 256 * 1024;  // unoptimised frames are large
#else
constexpr std::size_t kStackBytes = 64 * 1024;
#endif
constexpr std::size_t kGuardedStacks = 8192;  // a process may have some 65,000 mappings; a guard costs two
constexpr std::uint64_t kCanary = 0x5afe57acc5afe57aull;

// Stacks are taken from the system once and kept: launches are many, their threads alike.
char* stack_of(std::size_t number) {
  static std::deque<char*> stacks;
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  while (stacks.size() <= number) {
    void* memory =
        mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    if (stacks.size() < kGuardedStacks) mprotect(memory, page, PROT_NONE);
    stacks.push_back(static_cast<char*>(memory) + page);
  }
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stacks[number], kStackBytes);  // an abandoned fiber's frames
#endif
  return stacks[number];
}

}  // namespace

#if defined(__x86_64__)

// Saves what a called function must preserve, changes stacks, restores.
asm(R"(
.text
.p2align 4
.type musicstar_switch_stacks, @function
musicstar_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size musicstar_switch_stacks, .-musicstar_switch_stacks
.p2align 4
.type musicstar_begin_fiber, @function
musicstar_begin_fiber:
  movq %r12, %rdi
  callq *%r13
  ud2
.size musicstar_begin_fiber, .-musicstar_begin_fiber
)");
extern "C" void musicstar_switch_stacks(void** save, void* load);
extern "C" void musicstar_begin_fiber();

void Fiber::start(std::size_t number, void (*entry)(void*), void* argument) {
  lowest_ = stack_of(number);
  std::memcpy(lowest_, &kCanary, sizeof kCanary);
  void** top = reinterpret_cast<void**>(lowest_ + kStackBytes) - 1;  // so that calls find it aligned to 16
  *--top = nullptr;                                                  // where musicstar_begin_fiber would return to
  *--top = reinterpret_cast<void*>(musicstar_begin_fiber);
  *--top = nullptr;                         // rbp
  *--top = nullptr;                         // rbx
  *--top = argument;                        // r12
  *--top = reinterpret_cast<void*>(entry);  // r13
  *--top = nullptr;                         // r14
  *--top = nullptr;                         // r15
  here_ = top;
}

#define MUSICSTAR_SWITCH(save, load) musicstar_switch_stacks(&(save), load)

#else

namespace {

void begin_fiber(unsigned high, unsigned low, unsigned argument_high, unsigned argument_low) {
  const auto join = [](unsigned a, unsigned b) { return static_cast<std::uintptr_t>(std::uint64_t{a} << 32 | b); };
  reinterpret_cast<void (*)(void*)>(join(high, low))(reinterpret_cast<void*>(join(argument_high, argument_low)));
  std::abort();
}

void switch_contexts(void** save, void* load) {
  ucontext_t mine;
  *save = &mine;
  swapcontext(&mine, static_cast<ucontext_t*>(load));
}

}  // namespace

void Fiber::start(std::size_t number, void (*entry)(void*), void* argument) {
  lowest_ = stack_of(number);
  std::memcpy(lowest_, &kCanary, sizeof kCanary);
  // The first context lies at the top of the stack that it describes.
  auto* context = reinterpret_cast<ucontext_t*>(lowest_ + kStackBytes - (sizeof(ucontext_t) + 63) / 64 * 64);
  getcontext(context);
  context->uc_stack.ss_sp = lowest_;
  context->uc_stack.ss_size = static_cast<std::size_t>(reinterpret_cast<char*>(context) - lowest_);
  context->uc_link = nullptr;
  const auto address = std::uint64_t{reinterpret_cast<std::uintptr_t>(entry)};
  const auto value = std::uint64_t{reinterpret_cast<std::uintptr_t>(argument)};
  makecontext(context, reinterpret_cast<void (*)()>(begin_fiber), 4, static_cast<unsigned>(address >> 32),
              static_cast<unsigned>(address), static_cast<unsigned>(value >> 32), static_cast<unsigned>(value));
  here_ = context;
}

#define MUSICSTAR_SWITCH(save, load) switch_contexts(&(save), load)

#endif

#if defined(__SANITIZE_ADDRESS__)
namespace {
const void* scheduler_bottom = nullptr;
std::size_t scheduler_size = 0;
}  // namespace
#endif

void Fiber::enter() {
#if defined(__SANITIZE_ADDRESS__)
  void* mine = nullptr;
  __sanitizer_start_switch_fiber(&mine, lowest_, kStackBytes);
  MUSICSTAR_SWITCH(there_, here_);
  __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
#else
  MUSICSTAR_SWITCH(there_, here_);
#endif
}

void Fiber::leave([[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &sanitizer_stack_, scheduler_bottom, scheduler_size);
  MUSICSTAR_SWITCH(here_, there_);
  __sanitizer_finish_switch_fiber(sanitizer_stack_, &scheduler_bottom, &scheduler_size);
#else
  MUSICSTAR_SWITCH(here_, there_);
#endif
}

void Fiber::entered() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
}

bool Fiber::overflowed() const {
  std::uint64_t found;
  std::memcpy(&found, lowest_, sizeof found);
  return found != kCanary;
}

}  // namespace musicstar::emulated_gpu
