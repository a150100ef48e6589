// How the residual stacks share their work: spans of rows over the members of a thread team, and where the members
// meet.
//
// Spans, and the blocks of them that a weight gradient is summed over first, do not depend on the number of threads: so
// neither does any bit of a result.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "cpu/stack_kernels.h"
#include "cpu/thread_team.h"

namespace musicstar::cpu {

// Rows that a product takes at once: their activations stay in the second-level cache between a layer's two products.
// A multiple of every instruction set's block of rows.
constexpr std::int64_t kSpanRows = 96;

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
    members.push_back({team, meeting, i, std::vector<StackTerm>(static_cast<std::size_t>(most_terms))});
  }
  team.run([&](int i) { body(members[static_cast<std::size_t>(i)]); });
}

// A batch of sequences cut into spans of rows.
struct Spans {
  std::int64_t batch, time;

  // Blocks of spans have sums of their own, which are added up in order: at four spans a block one addition for every
  // 384 multiply-adds. Fewer blocks would not keep many threads busy.
  static constexpr std::int64_t kBlockSpans = 4, kMostBlocks = 64;

  std::int64_t in_sequence() const { return (time + kSpanRows - 1) / kSpanRows; }
  std::int64_t count() const { return batch * in_sequence(); }
  std::int64_t blocks() const { return std::clamp<std::int64_t>(count() / kBlockSpans, 1, kMostBlocks); }
  ThreadTeam::Range block(std::int64_t index) const {
    return {count() * index / blocks(), count() * (index + 1) / blocks()};
  }

  struct Span {
    std::int64_t sequence, begin, end;  // rows of the sequence
  };
  Span at(std::int64_t span) const {
    const std::int64_t begin = span % in_sequence() * kSpanRows;
    return {span / in_sequence(), begin, std::min(begin + kSpanRows, time)};
  }

  // Calls body(sequence, begin, end) for every span of a range of them.
  template <class Body>
  void for_each(ThreadTeam::Range range, Body&& body) const {
    for (std::int64_t span = range.begin; span < range.end; ++span) {
      const Span here = at(span);
      body(here.sequence, here.begin, here.end);
    }
  }
};

// The taps of a dilated convolution over sequences of `time` rows.
struct Taps {
  const std::int64_t* offsets;  // [count]: tap k of row t reads row t + offsets[k]
  std::int64_t count;
  std::int64_t time;

  // Rows t of [begin, end) for which tap k reads inside of the sequence.
  ThreadTeam::Range inside(std::int64_t k, std::int64_t begin, std::int64_t end) const {
    const std::int64_t first = std::max(begin, -offsets[k]);
    return {first, std::max(first, std::min(end, time - offsets[k]))};
  }

  // The rows that all taps of [begin, end) together read, first to behind the last.
  ThreadTeam::Range reads(std::int64_t begin, std::int64_t end) const {
    const auto [least, most] = std::minmax_element(offsets, offsets + count);
    return {std::clamp<std::int64_t>(begin + *least, 0, time), std::clamp<std::int64_t>(end + *most, 0, time)};
  }

  // Cuts [begin, end) where a tap enters or leaves the sequence, so that in each piece a tap reads inside for all rows
  // or for none, and calls body(begin, end, terms, count): the terms of the taps that do. x and its weights are for
  // row 0 of the sequence; `weight_floats` lead from one tap's weights to the next one's.
  template <class Body>
  void for_each_piece(std::int64_t begin, std::int64_t end, const float* x, std::int64_t stride, std::int64_t inputs,
                      const float* weights, std::int64_t weight_floats, StackTerm* terms, Body&& body) const {
    while (begin < end) {
      std::int64_t cut = end, inside_count = 0;
      for (std::int64_t k = 0; k < count; ++k) {
        const ThreadTeam::Range rows = inside(k, begin, cut);
        if (rows.begin >= rows.end) continue;
        if (rows.begin > begin) {
          cut = rows.begin;
        } else {
          cut = rows.end;
          terms[inside_count++] = {x + (begin + offsets[k]) * stride, stride, inputs, weights + k * weight_floats};
        }
      }
      body(begin, cut, terms, inside_count);
      begin = cut;
    }
  }
};

// Two passes over a member's own spans, the second of which reads through taps what the first has written: each span's
// second pass comes as soon as its rows are there, while they are in the cache. The first pass goes from the last span
// to the first. A span that reads rows of other members' spans waits for `rest`, after a meeting.
class SecondPass {
 public:
  SecondPass(const Spans& spans, const Taps& taps, ThreadTeam::Range own)
      : spans_(spans), taps_(taps), own_(own), next_(own.end) {}

  // The first pass is done from `span` on: calls body(sequence, begin, end) for all that have become ready.
  template <class Body>
  void after(std::int64_t span, Body&& body) {
    const Spans::Span done = spans_.at(span);
    const std::int64_t done_from = done.sequence * spans_.time + done.begin;
    for (; next_ > own_.begin && reads(next_ - 1).begin >= done_from; --next_) {
      if (is_own(next_ - 1)) call(next_ - 1, body);
    }
  }

  // All that had to wait.
  template <class Body>
  void rest(Body&& body) const {
    for (std::int64_t span = own_.begin; span < own_.end; ++span) {
      if (!is_own(span)) call(span, body);
    }
  }

 private:
  ThreadTeam::Range reads(std::int64_t span) const {  // in rows of all sequences
    const Spans::Span here = spans_.at(span);
    const ThreadTeam::Range rows = taps_.reads(here.begin, here.end);
    return {here.sequence * spans_.time + rows.begin, here.sequence * spans_.time + rows.end};
  }
  bool is_own(std::int64_t span) const {
    const Spans::Span first = spans_.at(own_.begin), last = spans_.at(own_.end - 1);
    const ThreadTeam::Range rows = reads(span);
    return rows.begin >= first.sequence * spans_.time + first.begin &&
           rows.end <= last.sequence * spans_.time + last.end;
  }
  template <class Body>
  void call(std::int64_t span, Body&& body) const {
    const Spans::Span here = spans_.at(span);
    body(here.sequence, here.begin, here.end);
  }

  const Spans& spans_;
  const Taps taps_;
  const ThreadTeam::Range own_;
  std::int64_t next_;  // from here on the second pass is done, or waits
};

}  // namespace musicstar::cpu
