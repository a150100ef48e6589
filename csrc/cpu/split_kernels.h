// One lane decoded by several threads that share every layer: equations and order of additions as in sampler_kernels.h,
// so the samples are the same to the bit.
//
// Each member computes a range of tiles of every product, from rings of its own; sums, gated activations, head and
// logits are shared. Two meetings a layer: when all gated activations stand, and when all residual sums do.
//
//   member 0   gates of its channels | meet | residual and skip of its tiles | meet | next layer ...
//   member 1   gates of its channels |      | residual and skip of its tiles |      |
#pragma once

#include "cpu/sampler_kernels.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

// Arrive, and wait for all the others. Each member writes a counter of its own, so that a meeting costs one way between
// cores.
inline void meet(SplitMember& member) {
  const std::int64_t mine = ++member.meetings;
  __atomic_store_n(&member.counters[member.index].value, mine, __ATOMIC_RELEASE);
  for (std::int64_t other = 0; other < member.members; ++other) {
    std::int64_t spins = 0;
    while (__atomic_load_n(&member.counters[other].value, __ATOMIC_ACQUIRE) < mine) {
      if (++spins > 2000) yield_processor();  // somebody else has the other core: let it go on
    }
  }
}

struct Tiles {
  std::int64_t begin, end;
};

inline Tiles share_of(const SplitMember& member, std::int64_t floats) {
  const std::int64_t tiles = floats / kTile;
  return {tiles * member.index / member.members, tiles * (member.index + 1) / member.members};
}

inline PackedMatrix slice(const PackedMatrix& w, Tiles tiles) {
  PackedMatrix part = w;
  const std::int64_t outputs = tiles.begin * kTile;
  part.weight += outputs * w.groups * 4;
  part.tiles = tiles.end - tiles.begin;
  if (w.bias != nullptr) part.bias += outputs;
  if (w.scales != nullptr) part.scales += outputs;
  if (w.corrections != nullptr) part.corrections += outputs;
  return part;
}

// Tiles [begin, end) of y = init + x W, for one row.
template <class P>
inline void product_of_tiles(const PackedMatrix& w, Tiles tiles, const char* x, const float* init, float* y) {
  const std::int64_t outputs = tiles.begin * kTile;
  product<P, true>(slice(w, tiles), x, 0, init + outputs, 0, y + outputs, 0, 1);
}

// As older_taps of sampler_kernels.h, for this member's tiles of the gate and of the filter.
template <class P>
const float* older_taps_of_tiles(const DecoderPlan& plan, LaneGroup& group, std::int64_t l, const float* condition,
                                 Tiles gate, Tiles filter) {
  const DecoderLayer& layer = plan.layers[l];
  const std::int64_t ahead = group.ahead[l];
  const std::int64_t phase = group.position % ahead;
  const std::int64_t gates = 2 * plan.residual_stride;
  if (phase == 0) {
    const std::int64_t row_bytes = P::kFormat.row_bytes(plan.residual_stride);
    const std::int64_t slot = group.position % layer.ring_rows;
    const Tiles halves[2] = {gate, filter};
    for (std::int64_t k = 0; k + 1 < plan.kernel_size; ++k) {
      std::int64_t row = slot + k * layer.dilation;
      if (row >= layer.ring_rows) row -= layer.ring_rows;
      for (const Tiles tiles : halves) {
        const std::int64_t outputs = tiles.begin * kTile;
        float* older = group.older[l] + outputs;
        product<P, true>(slice(layer.taps[k], tiles), group.rings[l] + row * row_bytes, row_bytes,
                         k == 0 ? condition + outputs : older, k == 0 ? 0 : gates, older, gates, ahead);
      }
    }
  }
  return group.older[l] + phase * gates;
}

// As pass_layers of sampler_kernels.h, for this member's tiles. `x`: the residual sums, which begin in the member's
// own.
template <class P>
void pass_layers_together(const DecoderPlan& plan, SplitMember& member, std::int64_t begin, std::int64_t end,
                          const float* condition, const float* x) {
  LaneGroup& group = member.state;
  const std::int64_t residual = plan.residual_stride;
  const std::int64_t newest = plan.kernel_size - 1;
  const std::int64_t row_bytes = P::kFormat.row_bytes(residual);
  const Tiles channels = share_of(member, residual);
  const Tiles skips = share_of(member, plan.skip_stride);
  const std::int64_t half = residual / kTile;
  const Tiles filter = {half + channels.begin, half + channels.end};
  const Tiles skip_columns = {half + skips.begin, half + skips.end};  // of [residual; skip]
  for (std::int64_t l = begin; l < end; ++l, x = group.sums) {
    const DecoderLayer& layer = plan.layers[l];
    const float* gates = condition + l * 2 * residual;
    const Rows row = rows_of<P>(x, residual, residual, 1, group.converted);
    if (newest > 0) {
      gates = older_taps_of_tiles<P>(plan, group, l, gates, channels, filter);
      char* slot = group.rings[l] + group.position % layer.ring_rows * row_bytes;
      std::memcpy(slot, row.data, static_cast<std::size_t>(row_bytes));
    }
    product_of_tiles<P>(layer.taps[newest], channels, row.data, gates, group.gates);
    product_of_tiles<P>(layer.taps[newest], filter, row.data, gates, group.gates);
    for (std::int64_t i = channels.begin * kTile; i < channels.end * kTile; i += kWidth) {
      store(group.gated + i, P::gated(load(group.gates + i), load(group.gates + residual + i)));
    }
    meet(member);
    const Rows z = rows_of<P>(group.gated, residual, residual, 1, group.converted);
    product_of_tiles<P>(layer.residual_and_skip, channels, z.data, group.sums, group.sums);
    product_of_tiles<P>(layer.residual_and_skip, skip_columns, z.data, group.sums, group.sums);
    meet(member);
  }
}

template <class P>
void split_step(const DecoderPlan& plan, SplitMember& member, const float* condition) {
  using Ends = typename P::ForEnds;
  LaneGroup& group = member.state;
  const std::int64_t residual = plan.residual_stride;
  const std::int64_t skip = plan.skip_stride;
  const Tiles channels = share_of(member, residual);
  const Tiles skips = share_of(member, skip);
  float* residual_sums = group.sums;
  float* skip_sums = group.sums + residual;

  float* own = member.own;
  for (std::int64_t i = 0; i < residual; i += kWidth) {
    Vector value = load(plan.first_bias + i);
    for (std::int64_t k = 0; k < plan.kernel_size; ++k) {
      value += group.inputs[k] * load(plan.first_taps + k * residual + i);
    }
    store(own + i, value);
  }
  for (std::int64_t i = channels.begin * kTile; i < channels.end * kTile; i += kWidth)
    store(residual_sums + i, load(own + i));
  const Rows x = rows_of<Ends>(own, residual, residual, 1, group.converted);
  product_of_tiles<Ends>(plan.first_skip, skips, x.data, plan.first_skip_bias, skip_sums);
  pass_layers_together<Ends>(plan, member, 0, kFirstLayers, condition, own);
  pass_layers_together<P>(plan, member, kFirstLayers, plan.depth, condition, residual_sums);

  for (std::int64_t i = 0; i < skip; i += kWidth) store(own + i, rectified(load(skip_sums + i)));
  const Rows s = rows_of<Ends>(own, skip, skip, 1, group.converted);
  product_of_tiles<Ends>(plan.head, skips, s.data, condition + plan.depth * 2 * residual, group.head);
  meet(member);
  for (std::int64_t i = 0; i < skip; i += kWidth) store(own + i, rectified(load(group.head + i)));
  const Rows h = rows_of<Ends>(own, skip, skip, 1, group.converted);
  product_of_tiles<Ends>(plan.logits, share_of(member, plan.classes_stride), h.data, plan.logits_bias, group.logits);
  meet(member);
}

// Every member draws for itself, the same code from the same logits; member 0 writes the results.
template <class P>
void split_sample(const DecoderPlan& plan, SplitMember& member, const SampleCall& call) {
  for (std::int64_t t = 0; t < call.samples; ++t) {
    split_step<P>(plan, member, call.condition);
    take_sample(plan, member.state, call, t, member.index == 0);
  }
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
