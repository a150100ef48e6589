// How the residual stacks share their work among the members of a thread team, and where the members meet.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "cpu/stack_spans.h"
#include "cpu/thread_team.h"

namespace musicstar::cpu {

// Where all members of a team wait for each other. They spin: a layer lasts microseconds to milliseconds.
class Meeting {
 public:
  explicit Meeting(int members) : members_(members) {}

  void wait() {
    const std::uint64_t round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins > 4000) std::this_thread::yield();
    }
  }

 private:
  const int members_;
  std::atomic<int> arrived_{0};
  std::atomic<std::uint64_t> round_{0};
};

// One member's view of a run of the team.
struct Member {
  const ThreadTeam& team;
  Meeting& meeting;
  const int index;
  std::vector<StackTerm> terms;  // room for as many as a product has
  SpanRows rows;                 // of the span that is being computed

  ThreadTeam::Range share(std::int64_t count) const { return team.share(count, index, 1); }
};

// Runs body(member) on `threads` threads, the calling one among them; fewer where there are fewer spans. The body must
// not throw.
inline void run_members(int threads, std::int64_t spans, std::int64_t most_terms,
                        const std::function<void(Member&)>& body) {
  const int size = static_cast<int>(std::clamp<std::int64_t>(spans, 1, threads));
  ThreadTeam team(size);
  Meeting meeting(size);
  std::vector<Member> members;
  for (int i = 0; i < size; ++i) {
    members.push_back({team, meeting, i, std::vector<StackTerm>(static_cast<std::size_t>(most_terms)), {}});
  }
  team.run([&](int i) { body(members[static_cast<std::size_t>(i)]); });
}

}  // namespace musicstar::cpu
