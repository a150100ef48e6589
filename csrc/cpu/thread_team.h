// A fixed team of threads that run one function together. Between runs its threads watch for the next one for a while,
// since a layer of a small network takes less time than waking up, and then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace musicstar::cpu {

class ThreadTeam {
 public:
  explicit ThreadTeam(int size);  // the caller is one of the `size` members
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(member) for member 0 .. size()-1, member 0 on the calling thread, and waits for all. The body must not
  // throw.
  void run(const std::function<void(int)>& body);

  // The share of `count` items that belongs to a member, as [begin, end), cut at multiples of `grain`.
  struct Range {
    std::int64_t begin, end;
  };
  Range share(std::int64_t count, int member, std::int64_t grain) const;

 private:
  void work(int member);
  void start_next();

  const int looks_;  // at what a thread waits for, before it sleeps
  std::mutex mutex_;
  std::condition_variable started_, finished_;
  // Written while all other members wait: `generation_` publishes them.
  const std::function<void(int)>* body_ = nullptr;
  bool stopping_ = false;
  std::atomic<std::uint64_t> generation_{0};  // of runs, and the end: what the other members wait for
  std::atomic<int> running_{0};               // other members that have not finished: what the caller waits for
  std::vector<std::thread> threads_;
};

}  // namespace musicstar::cpu
