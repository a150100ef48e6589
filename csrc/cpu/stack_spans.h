// How a residual stack's rows are cut into spans: rows one by one, or in the pairs that a dilated convolution can take
// together with fewer products (stack_pairs.h).
//
// Spans, and the blocks of them that a weight gradient is summed over first, do not depend on the number of threads: so
// neither does any bit of a result.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/stack_kernels.h"
#include "cpu/thread_team.h"

namespace musicstar::cpu {

constexpr std::int64_t kMostSpanRows = 2 * kSpanGroups;

// From this many channels on pairs are worth it: with fewer, what goes into and comes out of their short products costs
// as much as the products that they spare.
constexpr std::int64_t kLeastPairedChannels = 64;

// The rows of a sequence in groups: each row for itself, or row t with row t + step. For a step of 3:
//
//   row      0 1 2   3 4 5   6 7 8   9 10 11   12 ...       group g begins at row(g), and row(g) rises with g
//   group    0 1 2   0 1 2   3 4 5   3  4  5    6 ...
//
// At the end of a sequence groups may lack their second row; they are the last ones.
struct RowGroups {
  std::int64_t time;
  std::int64_t step;
  bool paired;

  int size() const { return paired ? 2 : 1; }
  // Groups that begin before row t.
  std::int64_t before(std::int64_t t) const {
    if (!paired || t <= 0) return std::max<std::int64_t>(t, 0);
    return t / (2 * step) * step + std::min(t % (2 * step), step);
  }
  // Groups that have a row `member`, 0 or 1: the first ones of the sequence.
  std::int64_t count(int member) const { return member < size() ? before(time - member * step) : 0; }
  std::int64_t row(std::int64_t group) const { return paired ? group + group / step * step : group; }
  // Rows of the groups before this one.
  std::int64_t rows_before(std::int64_t group) const { return std::min(group, count(0)) + std::min(group, count(1)); }
};

// One span: groups [begin, end) of a sequence. Its rows are taken in the order of their place within a group: first the
// first rows of all groups, then the second ones of those that have one. What is kept for each layer is kept in this
// order, span by span.
struct Span {
  std::int64_t sequence, begin, end;
};

// The rows of a span.
struct SpanRows {
  Span span;
  std::int64_t counts[2];              // of first and second rows: counts[0] is the number of groups
  std::int64_t sequence_row;           // where the sequence begins among the rows of all sequences
  std::int64_t first;                  // number of the span's first row in the order of spans, over all sequences
  std::int64_t places[kMostSpanRows];  // where each stands among the rows of all sequences
  std::int64_t frames[kMostSpanRows];  // where wanted: the frame of `pool` rows that each is in, over all sequences

  std::int64_t count() const { return counts[0] + counts[1]; }

  void list_frames(std::int64_t pool, std::int64_t frames_of_sequence) {
    std::int64_t i = 0;
    for (const std::int64_t end : {counts[0], counts[0] + counts[1]}) {  // rows rise within each of the two
      if (i == end) continue;
      std::int64_t in_sequence = (places[i] - sequence_row) / pool;
      std::int64_t next = sequence_row + (in_sequence + 1) * pool;
      for (; i < end; ++i) {
        if (places[i] >= next) {
          in_sequence = (places[i] - sequence_row) / pool;
          next = sequence_row + (in_sequence + 1) * pool;
        }
        frames[i] = span.sequence * frames_of_sequence + in_sequence;
      }
    }
  }
};

// A batch of sequences cut into spans of groups of rows.
struct Spans {
  std::int64_t batch;
  RowGroups groups;

  // Blocks of spans have sums of their own, which are added up in order: at four spans a block one addition for every
  // 384 multiply-adds. Fewer blocks would not keep many threads busy.
  static constexpr std::int64_t kBlockSpans = 4, kMostBlocks = 64;

  std::int64_t in_sequence() const { return (groups.count(0) + kSpanGroups - 1) / kSpanGroups; }
  std::int64_t count() const { return batch * in_sequence(); }
  std::int64_t blocks() const { return std::clamp<std::int64_t>(count() / kBlockSpans, 1, kMostBlocks); }
  ThreadTeam::Range block(std::int64_t index) const {
    return {count() * index / blocks(), count() * (index + 1) / blocks()};
  }

  // The spans of a range of blocks.
  ThreadTeam::Range of_blocks(ThreadTeam::Range blocks) const {
    if (blocks.begin == blocks.end) return {0, 0};
    return {block(blocks.begin).begin, block(blocks.end - 1).end};
  }

  Span at(std::int64_t span) const {
    const std::int64_t begin = span % in_sequence() * kSpanGroups;
    return {span / in_sequence(), begin, std::min(begin + kSpanGroups, groups.count(0))};
  }

  void list(const Span& span, SpanRows& rows) const {
    rows.span = span;
    rows.sequence_row = span.sequence * groups.time;
    rows.first = rows.sequence_row + groups.rows_before(span.begin);
    for (const int member : {0, 1}) {
      rows.counts[member] = std::max<std::int64_t>(std::min(groups.count(member), span.end) - span.begin, 0);
    }
    std::int64_t place = rows.sequence_row + groups.row(span.begin);
    std::int64_t to_gap = groups.paired ? groups.step - span.begin % groups.step : rows.counts[0];
    for (std::int64_t g = 0; g < rows.counts[0]; ++g) {
      rows.places[g] = place++;
      if (--to_gap == 0) {
        place += groups.step;
        to_gap = groups.step;
      }
    }
    for (std::int64_t g = 0; g < rows.counts[1]; ++g) rows.places[rows.counts[0] + g] = rows.places[g] + groups.step;
  }

  // Calls body(rows) for every span of a range of them.
  template <class Body>
  void for_each(ThreadTeam::Range range, SpanRows& rows, Body&& body) const {
    for (std::int64_t span = range.begin; span < range.end; ++span) {
      list(at(span), rows);
      body(rows);
    }
  }
};

// Two passes over a member's own spans, the second of which reads through taps what the first has written: each span's
// second pass comes as soon as its rows are there, while they are in the cache. The first pass goes from the last span
// to the first. A span that reads rows of other members' spans waits for `rest`, after a meeting.
class SecondPass {
 public:
  // The second pass of group g reads the groups g + least to g + most.
  SecondPass(const Spans& spans, std::int64_t least, std::int64_t most, ThreadTeam::Range own)
      : spans_(spans), least_(least), most_(most), own_(own), next_(own.end) {}

  // The first pass is done from `span` on: calls body(span) for all that have become ready.
  template <class Body>
  void after(std::int64_t span, Body&& body) {
    const Span done = spans_.at(span);
    const std::int64_t done_from = done.sequence * groups() + done.begin;
    for (; next_ > own_.begin && reads(next_ - 1).begin >= done_from; --next_) {
      if (is_own(next_ - 1)) body(spans_.at(next_ - 1));
    }
  }

  // All that had to wait.
  template <class Body>
  void rest(Body&& body) const {
    for (std::int64_t span = own_.begin; span < own_.end; ++span) {
      if (!is_own(span)) body(spans_.at(span));
    }
  }

 private:
  std::int64_t groups() const { return spans_.groups.count(0); }
  ThreadTeam::Range reads(std::int64_t span) const {  // in groups of all sequences
    const Span here = spans_.at(span);
    const std::int64_t first = here.sequence * groups();
    return {first + std::clamp<std::int64_t>(here.begin + least_, 0, groups()),
            first + std::clamp<std::int64_t>(here.end + most_, 0, groups())};
  }
  bool is_own(std::int64_t span) const {
    const Span first = spans_.at(own_.begin), last = spans_.at(own_.end - 1);
    const ThreadTeam::Range range = reads(span);
    return range.begin >= first.sequence * groups() + first.begin && range.end <= last.sequence * groups() + last.end;
  }

  const Spans spans_;
  const std::int64_t least_, most_;
  const ThreadTeam::Range own_;
  std::int64_t next_;  // from here on the second pass is done, or waits
};

}  // namespace musicstar::cpu
