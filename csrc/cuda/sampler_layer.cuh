// The block of one layer: two roles of Spread<R>::kWarps warps that run through the same steps.
//
// Chain, on the path that every sample waits for:
//   h = older + current x          older: made by the side, one or two steps ahead
//   z = sigmoid(h[:R]) tanh(h[R:]) to shared memory
//   x' = x + b + residual z        to the next block
// Side, in its shadow:
//   s' = s + skip z                to the next block
//   older = condition + past x[t - d] of a coming step, x from the layer's ring in global memory, which the chain fills
//
// A warp has a gate and the filter that it multiplies in the same thread: its tiles are `kTiles` of the upper half and
// the same of the lower. A step never waits for the side of the same step: older slots, the two z and the two of each
// named barrier alternate, and the chain cannot be two steps ahead, because step i + 2 needs what the side makes in
// step i, after it has seen z of step i.
#pragma once

#include "cuda/sampler_links.cuh"
#include "cuda/sampler_products.cuh"

namespace musicstar::cuda {

// The ring of this layer for one group: [slot][R][8] bf16, slot t mod dilation (a power of two).
template <int R>
class Ring {
 public:
  __device__ __forceinline__ Ring(const PipelineCall& call, int layer, int first_group)
      : mask_((1 << (layer % call.layers)) - 1),
        base_(call.rings + (ring_slots_before(layer, call.layers) * call.groups +
                            static_cast<std::int64_t>(first_group) * (mask_ + 1)) *
                               kSlotBytes) {}
  __device__ __forceinline__ int dilation() const { return mask_ + 1; }
  __device__ __forceinline__ unsigned char* at(int group, std::int64_t t) const {
    return base_ + (static_cast<std::int64_t>(group) * (mask_ + 1) + (static_cast<int>(t) & mask_)) * kSlotBytes;
  }

 private:
  static constexpr int kSlotBytes = R * kGroupLanes * 2;
  int mask_;
  unsigned char* base_;
};

// Which condition frame a sample of this launch reads, as samples go on one by one.
class FrameCounter {
 public:
  __device__ __forceinline__ explicit FrameCounter(const PipelineCall& call)
      : pool_(static_cast<int>(call.pool < kNever ? call.pool : kNever)) {
    const std::int64_t left = call.pool - call.position % call.pool;
    left_ = static_cast<int>(left < kNever ? left : kNever);
  }
  __device__ __forceinline__ int frame_of(int sample) {
    if (sample != sample_) {
      sample_ = sample;
      if (--left_ == 0) {
        ++frame_;
        left_ = pool_;
      }
    }
    return frame_;
  }

 private:
  static constexpr int kNever = 1 << 30;  // more samples than a launch has
  int pool_, left_, frame_ = 0, sample_ = 0;
};

template <int R, bool Clusters>
__device__ __forceinline__ void chain_of_layer(const PipelineCall& call, const Place& place, unsigned char* shared,
                                               int warp) {
  Links<R, Clusters> links(call, place, shared);
  const int layer = place.block, first_group = place.first_group, groups = place.groups;
  constexpr int kTiles = Spread<R>::kTiles, kSteps = Spread<R>::kSteps, kChain = 32 * Spread<R>::kWarps;
  constexpr PipelineShared kShared = pipeline_shared(R, 0);
  const Stand<R> stand(warp);
  const uint4* const packed = call.layer_weights + layer * fragments_of_layer(R);
  Resident<2 * kTiles, kSteps> current;
  current.load(packed, warp, stand.lane);
  Resident<kTiles, kSteps> residual;
  residual.load(packed + 2 * fragments_of_square(R), warp, stand.lane);

  const Ring<R> ring(call, layer, first_group);
  const bool last = layer + 1 == call.depth, alone = call.lanes == 1;
  for (Step step; step.sample < call.samples; step.advance(groups)) {
    const int parity = step.index % 2;
    named_barrier_sync(kOlderBarrier + parity, 2 * kChain);
    const int slot = links.receive_x(step, stand);
    // Only now, for its registers; the products wait for x's first load as long as for this one.
    float h[2 * kTiles][4];
    const float* const older = reinterpret_cast<const float*>(shared + kShared.layer) +
                               (step.index % kOlderSlots) * (2 * R * kGroupLanes) + warp * 2 * kTiles * 128 +
                               stand.lane * 4;
#pragma unroll
    for (int tile = 0; tile < 2 * kTiles; ++tile) load_four(h[tile], older + tile * 128);
    current.accumulate(h, links.high(slot), stand.lane);

    unsigned char* const gated = shared + kShared.gated + parity * (R * kGroupLanes * 2);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      float z[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Of one lane alone every second accumulator is padding; special functions are what a gate waits for.
        if (i % 2 == 0 || !alone) z[i] = fast_sigmoid(h[tile][i]) * fast_tanh(h[kTiles + tile][i]);
      }
      store_rows(gated, stand.row(tile), stand.column, z);
    }
    // The newest input takes the place of the one that `older` has used. Published to the side with z.
    if (stand.lane < 16 * kTiles) {
      const int offset = (warp * 16 * kTiles + stand.lane) * 16;
      *reinterpret_cast<uint4*>(ring.at(step.group, call.position + step.sample) + offset) =
          *reinterpret_cast<const uint4*>(links.high(slot) + offset);
    }
    named_barrier_arrive(kGatedBarrier + parity, 2 * kChain);
    if (last) {
      links.give_back_x(slot, stand);
      continue;  // nobody needs its x
    }
    float x[kTiles][4];
    links.read_x(slot, stand, x);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const float* const bias = call.residual_bias + layer * R + stand.row(tile);
      const float low = __ldg(bias), high = __ldg(bias + 8);
      x[tile][0] += low;
      x[tile][1] += low;
      x[tile][2] += high;
      x[tile][3] += high;
    }
    named_barrier_sync(kChainBarrier, kChain);
    residual.accumulate(x, gated, stand.lane);
    links.send_x(step, stand, x);
    links.give_back_x(slot, stand);
  }
}

template <int R, bool Clusters>
__device__ __forceinline__ void side_of_layer(const PipelineCall& call, const Place& place, unsigned char* shared,
                                              int warp) {
  Links<R, Clusters> links(call, place, shared);
  const int layer = place.block, first_group = place.first_group, groups = place.groups;
  constexpr int kTiles = Spread<R>::kTiles, kSteps = Spread<R>::kSteps, kSide = 32 * Spread<R>::kWarps;
  constexpr PipelineShared kShared = pipeline_shared(R, 0);
  constexpr int kRowsBytes = R * kGroupLanes * 2;
  const Stand<R> stand(warp);
  const uint4* const packed = call.layer_weights + layer * fragments_of_layer(R);
  Resident<2 * kTiles, kSteps> past;
  past.load(packed + 3 * fragments_of_square(R), warp, stand.lane);
  Resident<kTiles, kSteps> skip;
  skip.load(packed + 5 * fragments_of_square(R), warp, stand.lane);

  const Ring<R> ring(call, layer, first_group);
  const int steps = call.samples * groups;
  // Step j reads what step j - distance has put into the ring. `ahead` steps before it, `older` is made of it. Where
  // the distance allows, its copy starts one step earlier still, before that step's z is waited for.
  const std::int64_t distance = static_cast<std::int64_t>(ring.dilation()) * groups;
  const bool early = distance >= 4;
  const int ahead = distance >= 2 ? 2 : 1;

  float* const older = reinterpret_cast<float*>(shared + kShared.layer) + warp * 2 * kTiles * 128 + stand.lane * 4;
  FrameCounter frames(call);
  Step copied;  // the next step whose copies are to be started
  const auto copy_next = [&] {
    if (copied.index < steps) {
      const int slot = copied.index % kOlderSlots;
      const int chunk = warp * 32 + stand.lane;
      if (chunk < R) {
        cp_async_16(shared + kShared.past + slot * kRowsBytes + chunk * 16,
                    ring.at(copied.group, call.position + copied.sample) + chunk * 16);
      }
      const std::int64_t frame = frames.frame_of(copied.sample);
      const float* const condition =
          call.layer_condition +
          ((frame * call.depth + layer) * call.groups + first_group + copied.group) * (2 * R * kGroupLanes) +
          warp * 2 * kTiles * 128 + stand.lane * 4;
#pragma unroll
      for (int tile = 0; tile < 2 * kTiles; ++tile) {
        cp_async_16(older + slot * (2 * R * kGroupLanes) + tile * 128, condition + tile * 128);
      }
      copied.advance(groups);
    }
    cp_async_commit();
  };
  // From the copies of step j, which have landed for this thread, to its `older`. All warps of the side together.
  const auto make_older = [&](int j) {
    named_barrier_sync(kSideBarrier, kSide);
    if (j >= steps) return;
    const int slot = j % kOlderSlots;
    float* const of_slot = older + slot * (2 * R * kGroupLanes);
    float h[2 * kTiles][4];
#pragma unroll
    for (int tile = 0; tile < 2 * kTiles; ++tile) load_four(h[tile], of_slot + tile * 128);
    past.accumulate(h, shared + kShared.past + slot * kRowsBytes, stand.lane);
#pragma unroll
    for (int tile = 0; tile < 2 * kTiles; ++tile) store_four(of_slot + tile * 128, h[tile]);
    named_barrier_arrive(kOlderBarrier + j % 2, 2 * kSide);
  };

  for (int j = 0; j < ahead; ++j) {
    copy_next();
    cp_async_wait<0>();
    make_older(j);
  }
  if (early) copy_next();
  for (Step step; step.sample < call.samples; step.advance(groups)) {
    const int parity = step.index % 2;
    if (early) copy_next();
    named_barrier_sync(kGatedBarrier + parity, 2 * kSide);
    if (!early) copy_next();
    float s[kTiles][4] = {};
    skip.accumulate(s, shared + kShared.gated + parity * kRowsBytes, stand.lane);
    links.receive_s(step, stand, s);
    links.send_s(step, stand, s);
    if (early) {
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    make_older(step.index + ahead);
  }
}

}  // namespace musicstar::cuda
