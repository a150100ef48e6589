// The sampler: packed weights shared by all, and for each thread a group of lanes with a state of its own. Lanes never
// meet, so threads never wait for each other within a call.
//
// One lane alone can be split over threads, layer by layer, which pays only where cores answer each other fast: two
// meetings a layer are some 80 a sample. A virtual machine can be ten times slower at it from one day to the next, so
// both ways are timed when such a sampler is made, and the faster one is kept for as long as it is faster. Both give
// the same bits.
//
// A guided lane is two rows of its group, one that hears the condition and one that hears zeros: they meet where the
// code is drawn, and share each weight that is read. So one guided lane is never split.
#include <algorithm>
#include <chrono>
#include <vector>

#include "cpu/packed_decoder.h"
#include "cpu/packing.h"
#include "cpu/thread_team.h"
#include "musicstar/engine.h"

namespace musicstar::cpu {

namespace {

// Older taps are computed for as many coming samples as make about this many rows, and for two samples at least: with
// many lanes that spares a sixth of the weights' reading.
constexpr std::int64_t kRowsAhead = 16;
constexpr std::int64_t kMeasuredSamples = 64;

class LaneSampler final : public Sampler {
 public:
  LaneSampler(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes, int threads, Isa isa,
              Precision precision, Split split, bool guided)
      : sizes_(sizes),
        guided_(guided),
        kernels_(kernels_of(isa)),
        kernel_(kernels_.in(precision)),
        decoder_(sizes, weights, kernels_, precision),
        plan_(decoder_.plan()),
        team_(team_size(sizes, lanes, threads, kernels_.tile, guided ? Split::kNever : split)) {
    const bool can_split = lanes == 1 && team_.size() > 1;
    for (int member = 0; member < team_.size(); ++member) {
      const auto [begin, end] = can_split ? ThreadTeam::Range{0, 1} : team_.share(lanes, member, 1);
      groups_.push_back(make_group(begin, end - begin));
    }
    if (can_split) {
      share_between_members();
      may_stop_splitting_ = split == Split::kWhereFaster;
      is_split_ = split == Split::kAlways || splitting_pays();
    }
    reset(input_of_code(kStartCode));
  }

  bool is_split() const override { return is_split_; }

  void reset(float first_input) override {
    position_ = 0;
    for (Group& group : groups_) {
      const std::int64_t lanes = group.state().lanes;
      group.state().position = 0;
      std::fill_n(group.state().inputs, (sizes_.kernel_size - 1) * lanes, 0.0f);
      std::fill_n(group.state().inputs + (sizes_.kernel_size - 1) * lanes, lanes, first_input);
      for (std::int64_t l = 0; l < plan_.depth; ++l) {
        std::fill_n(group.rings[l], ring_bytes(l, lanes), static_cast<char>(format_of(l).offset));
      }
    }
  }

  void run(const Call& call) override {
    std::int64_t done = 0;
    const std::int64_t first_frame = position_ / sizes_.pool;
    while (is_split_ && may_stop_splitting_ && done < call.samples) {
      Call piece = part_of_lane(call, done, std::min(kRowsAhead, call.samples - done), first_frame);
      const double seconds = timed_run(piece);
      done += piece.samples;
      const double slowness = seconds / (alone_seconds_per_sample_ * static_cast<double>(piece.samples));
      slow_pieces_ = slowness > 1.2 ? slow_pieces_ + 1 : 0;
      // The machine has become busy since: one core goes on alone. Where the older taps of all layers are due anew,
      // member 0 has all that it needs.
      if ((slow_pieces_ >= 4 || slowness > 4) && position_ % kRowsAhead == 0) is_split_ = false;
    }
    if (done == 0) {
      run_groups(call);
    } else if (done < call.samples) {
      run_groups(part_of_lane(call, done, call.samples - done, first_frame));
    }
  }

  std::int64_t position() const override { return position_; }

  std::int64_t frames_touched(std::int64_t n) const override {
    return n == 0 ? 0 : (position_ + n - 1) / sizes_.pool - position_ / sizes_.pool + 1;
  }

 private:
  struct Group {
    std::int64_t first_lane = 0;
    bool shares_lane = false;
    SplitMember member;
    LaneGroup& state() { return member.state; }
    std::vector<char*> rings;
    std::vector<std::int64_t> ahead;
    std::vector<float*> older;
    std::int64_t callers_lanes() const { return member.state.guided ? member.state.lanes / 2 : member.state.lanes; }
    float* frames = nullptr;     // [callers_lanes][C]: one condition frame of every lane
    float* projected = nullptr;  // as SampleCall::condition
  };

  const RowFormat& format_of_ends() const { return kernels_.in(kernel_.for_ends).format; }
  const RowFormat& format_of(std::int64_t l) const { return l < kFirstLayers ? format_of_ends() : kernel_.format; }

  std::int64_t widest_row_bytes() const {
    return std::max(kernel_.format.row_bytes(plan_.residual_stride),
                    format_of_ends().row_bytes(std::max(plan_.residual_stride, plan_.skip_stride)));
  }

  std::int64_t ring_bytes(std::int64_t l, std::int64_t lanes) const {
    return plan_.layers[l].ring_rows * lanes * format_of(l).row_bytes(plan_.residual_stride);
  }

  Group make_group(std::int64_t first_lane, std::int64_t lanes) {
    Group group;
    group.first_lane = first_lane;
    group.state().guided = guided_;
    if (guided_) lanes *= 2;
    group.state().lanes = lanes;
    group.state().inputs = arena_.floats(sizes_.kernel_size * lanes);
    for (std::int64_t l = 0; l < plan_.depth; ++l) {
      group.rings.push_back(arena_.bytes(ring_bytes(l, lanes)));
      std::int64_t ahead = 1;
      while (plan_.layers[l].dilation % (2 * ahead) == 0 && sizes_.pool % (2 * ahead) == 0 &&
             2 * ahead * lanes <= std::max(kRowsAhead, 2 * lanes)) {
        ahead *= 2;
      }
      group.ahead.push_back(ahead);
      group.older.push_back(arena_.floats(ahead * lanes * 2 * plan_.residual_stride));
    }
    group.state().sums = arena_.floats(lanes * (plan_.residual_stride + plan_.skip_stride));
    group.state().gates = arena_.floats(lanes * 2 * plan_.residual_stride);
    group.state().gated = arena_.floats(lanes * plan_.residual_stride);
    group.state().head = arena_.floats(lanes * plan_.skip_stride);
    group.state().logits = arena_.floats(lanes * plan_.classes_stride);
    group.state().probabilities = arena_.floats(plan_.classes_stride);
    group.state().converted = arena_.bytes(lanes * widest_row_bytes());
    group.frames = arena_.floats(lanes * sizes_.condition_channels);
    group.projected = arena_.floats(decoder_.projected_floats(lanes));
    if (guided_) {  // what zeros become never changes
      std::fill_n(group.frames, lanes * sizes_.condition_channels, 0.0f);
      decoder_.project(group.frames, lanes / 2, lanes / 2, lanes, group.projected);
    }
    return group;
  }

  static int team_size(const DecoderSizes& sizes, std::int64_t lanes, int threads, std::int64_t tile, Split split) {
    if (lanes > 1) return static_cast<int>(std::clamp<std::int64_t>(threads, 1, lanes));
    if (split == Split::kNever) return 1;
    return static_cast<int>(std::clamp<std::int64_t>(threads, 1, round_up(sizes.residual_channels, tile) / tile));
  }

  void share_between_members() {
    counters_.resize(groups_.size());
    const LaneGroup& first = groups_.front().state();
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      Group& group = groups_[i];
      group.shares_lane = true;
      group.state().sums = first.sums;
      group.state().gated = first.gated;
      group.state().head = first.head;
      group.state().logits = first.logits;
      group.member.index = static_cast<std::int64_t>(i);
      group.member.members = static_cast<std::int64_t>(groups_.size());
      group.member.counters = counters_.data();
      group.member.own = arena_.floats(std::max(plan_.residual_stride, plan_.skip_stride));
    }
  }

  // Times a stretch of samples on one core, then shared, the latter only for as long as it is not clearly slower: on a
  // busy machine a meeting can take a time slice of the scheduler.
  bool splitting_pays() {
    constexpr int kRounds = 3;
    const std::int64_t samples = std::min<std::int64_t>(kMeasuredSamples, sizes_.pool);
    const std::vector<float> condition(sizes_.condition_channels, 0.0f);
    const std::vector<std::uint8_t> codes(samples, 0);
    const auto seconds_of = [&](bool split, double limit) {
      is_split_ = split;
      reset(0.0f);
      double seconds = 0.0;
      for (std::int64_t done = 0; done < samples && seconds < limit;) {
        Call call;
        call.samples = std::min<std::int64_t>(8, samples - done);
        call.condition = condition.data();
        call.frames = 1;
        call.forced = codes.data();
        seconds += timed_run(call);
        done += call.samples;
      }
      return seconds;
    };
    double alone = 1e9, together = 1e9;
    for (int round = 0; round < kRounds; ++round) {
      alone = std::min(alone, seconds_of(false, 1e9));
      together = std::min(together, seconds_of(true, 2 * alone));
    }
    alone_seconds_per_sample_ = alone / static_cast<double>(samples);
    return together < 0.95 * alone;
  }

  // Samples done .. done + count - 1 of a call for one lane, which began in frame `first_frame`.
  Call part_of_lane(const Call& call, std::int64_t done, std::int64_t count, std::int64_t first_frame) const {
    Call part = call;
    part.samples = count;
    part.frames = frames_touched(count);
    part.condition += (position_ / sizes_.pool - first_frame) * sizes_.condition_channels;
    if (call.uniforms != nullptr) part.uniforms += done;
    if (call.forced != nullptr) part.forced += done;
    if (call.codes != nullptr) part.codes += done;
    if (call.logits != nullptr) part.logits += done * sizes_.classes;
    return part;
  }

  double timed_run(const Call& call) {
    const auto start = std::chrono::steady_clock::now();
    run_groups(call);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void run_groups(const Call& call) {
    if (groups_.size() == 1 || (groups_.front().shares_lane && !is_split_)) {
      run_group(groups_.front(), call);
    } else {
      team_.run([&](int member) { run_group(groups_[member], call); });
    }
    position_ += call.samples;
  }

  void project_condition(Group& group, const Call& call, std::int64_t frame) {
    const std::int64_t lanes = group.callers_lanes(), channels = sizes_.condition_channels;
    for (std::int64_t b = 0; b < lanes; ++b) {
      std::copy_n(call.condition + ((group.first_lane + b) * call.frames + frame) * channels, channels,
                  group.frames + b * channels);
    }
    decoder_.project(group.frames, 0, lanes, group.state().lanes, group.projected);
  }

  void run_group(Group& group, const Call& call) {
    group.state().rings = group.rings.data();
    group.state().ahead = group.ahead.data();
    group.state().older = group.older.data();
    const std::int64_t first_frame = position_ / sizes_.pool;
    for (std::int64_t done = 0; done < call.samples;) {
      const std::int64_t position = position_ + done;
      project_condition(group, call, position / sizes_.pool - first_frame);
      const std::int64_t count = std::min(call.samples - done, sizes_.pool - position % sizes_.pool);
      const std::int64_t at = group.first_lane * call.samples + done;
      SampleCall part;
      part.samples = count;
      part.condition = group.projected;
      part.uniforms = call.uniforms == nullptr ? nullptr : call.uniforms + at;
      part.forced = call.forced == nullptr ? nullptr : call.forced + at;
      part.codes = call.codes == nullptr ? nullptr : call.codes + at;
      part.logits = call.logits == nullptr ? nullptr : call.logits + at * sizes_.classes;
      part.lane_stride = call.samples;
      part.temperature = call.temperature;
      part.guidance = call.guidance;
      if (is_split_) {
        kernel_.split_sample(plan_, group.member, part);
      } else {
        kernel_.sample(plan_, group.state(), part);
      }
      done += count;
    }
  }

  DecoderSizes sizes_;
  bool guided_;
  const Kernels& kernels_;
  const Kernels::InPrecision& kernel_;
  PackedDecoder decoder_;
  const DecoderPlan& plan_;
  ThreadTeam team_;
  Arena arena_;
  std::vector<Group> groups_;
  std::vector<SplitMember::Counter> counters_;
  bool is_split_ = false, may_stop_splitting_ = false;
  double alone_seconds_per_sample_ = 0.0;
  int slow_pieces_ = 0;
  std::int64_t position_ = 0;
};

}  // namespace

std::unique_ptr<Sampler> make_sampler(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes,
                                      int threads, Isa isa, Precision precision, Split split, bool guided) {
  return std::make_unique<LaneSampler>(sizes, weights, lanes, threads, isa, precision, split, guided);
}

}  // namespace musicstar::cpu
