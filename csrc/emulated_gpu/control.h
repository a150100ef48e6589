// How tests steer the emulated GPU.
#pragma once

#include <cstdint>
#include <string>

namespace musicstar::emulated_gpu {

enum class Order { kForward, kReverse, kRandom };
enum class Asynchronous { kLate, kEarly, kRandom };

// In which order threads run, and when what is asynchronous happens. With `proxies`, bulk copies and wgmma see ordinary
// stores to shared memory only after a fence_proxy_async (slower: every fence copies the block's shared memory).
struct Schedule {
  Order order = Order::kForward;
  Asynchronous asynchronous = Asynchronous::kLate;
  std::uint64_t seed = 0;
  bool proxies = false;
};

// "forward", "reverse" (both late), "early" (forward, at once), "proxies" (forward), "random" or "random:SEED"; else
// throws std::invalid_argument. At the start it is what MUSICSTAR_EMULATED_SCHEDULE says, or forward.
Schedule schedule_named(const std::string& name);
Schedule schedule();
void set_schedule(const Schedule& schedule);
void set_schedule(const std::string& name);

// What the device claims to have, from the next question on. At the start 16 multiprocessors (or what
// MUSICSTAR_EMULATED_MULTIPROCESSORS says), 4 GiB and compute capability 9.0.
void set_multiprocessors(int count);
void set_memory_bytes(std::int64_t bytes);
void set_compute_capability(int major, int minor);

// Rounds without progress after which a launch counts as deadlocked.
void set_patience(std::uint64_t rounds);

// Device memory in use.
std::int64_t memory_in_use();

}  // namespace musicstar::emulated_gpu
