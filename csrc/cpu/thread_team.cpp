#include "cpu/thread_team.h"

#include <algorithm>

namespace musicstar::cpu {

namespace {

constexpr int kLooks = 2000;  // with a pause after each, some 20 to 100 us

void pause_processor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // as long as a pause of x86's; "yield" is none
#endif
}

// Watches for a condition, and then sleeps until it is signalled. Whoever makes it true does so, or signals, under the
// mutex.
template <typename Condition>
void await(int looks, std::mutex& mutex, std::condition_variable& signal, Condition condition) {
  for (int look = 0; look < looks; ++look) {
    if (condition()) return;
    pause_processor();
  }
  std::unique_lock<std::mutex> lock(mutex);
  signal.wait(lock, condition);
}

}  // namespace

// Watching is for those who have a processor each.
ThreadTeam::ThreadTeam(int size) : looks_(size <= static_cast<int>(std::thread::hardware_concurrency()) ? kLooks : 0) {
  for (int member = 1; member < size; ++member) threads_.emplace_back([this, member] { work(member); });
}

ThreadTeam::~ThreadTeam() {
  stopping_ = true;
  start_next();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::start_next() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    generation_.fetch_add(1, std::memory_order_release);
  }
  started_.notify_all();
}

void ThreadTeam::run(const std::function<void(int)>& body) {
  if (threads_.empty()) {
    body(0);
    return;
  }
  body_ = &body;
  running_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  start_next();
  body(0);
  await(looks_, mutex_, finished_, [this] { return running_.load(std::memory_order_acquire) == 0; });
}

void ThreadTeam::work(int member) {
  for (std::uint64_t seen = 0;; ++seen) {  // nobody misses a run: its caller waits for all
    await(looks_, mutex_, started_, [&] { return generation_.load(std::memory_order_acquire) != seen; });
    if (stopping_) return;
    (*body_)(member);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::lock_guard<std::mutex> lock(mutex_);
      finished_.notify_one();
    }
  }
}

ThreadTeam::Range ThreadTeam::share(std::int64_t count, int member, std::int64_t grain) const {
  const std::int64_t grains = (count + grain - 1) / grain;
  const std::int64_t begin = grains * member / size() * grain;
  const std::int64_t end = grains * (member + 1) / size() * grain;
  return {std::min(begin, count), std::min(end, count)};
}

}  // namespace musicstar::cpu
