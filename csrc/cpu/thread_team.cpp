#include "cpu/thread_team.h"

#include <algorithm>

namespace musicstar::cpu {

ThreadTeam::ThreadTeam(int size) {
  for (int member = 1; member < size; ++member) threads_.emplace_back([this, member] { work(member); });
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  started_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::run(const std::function<void(int)>& body) {
  if (threads_.empty()) {
    body(0);
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    body_ = &body;
    running_ = static_cast<int>(threads_.size());
    ++generation_;
  }
  started_.notify_all();
  body(0);
  std::unique_lock<std::mutex> lock(mutex_);
  finished_.wait(lock, [this] { return running_ == 0; });
}

void ThreadTeam::work(int member) {
  std::uint64_t seen = 0;
  for (;;) {
    const std::function<void(int)>* body = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      started_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      body = body_;
    }
    (*body)(member);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (--running_ == 0) finished_.notify_one();
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
