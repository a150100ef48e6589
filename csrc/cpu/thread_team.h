// A fixed team of threads that run one function together. Its threads sleep between runs.
#pragma once

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

  std::mutex mutex_;
  std::condition_variable started_, finished_;
  const std::function<void(int)>* body_ = nullptr;
  std::uint64_t generation_ = 0;
  int running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace musicstar::cpu
