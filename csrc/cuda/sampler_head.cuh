// The block at the end of a pipeline, which closes the circle: skip sum to logits, draw, and the first layer's input.
//
// Chain:  y = ReLU(head ReLU(s) + b + condition),  logits = W y + b            to shared memory
// Side:   code = draw(logits);  u = code / 255 - 0.5       of a guided lane from both its columns, and back to both
//         x_0 = w_0 u[t - 1] + w_1 u[t] + b
//         s_0 = v_0 u[t - 1] + v_1 u[t] + c                                     both to the first block
//
// x_0 is a function of two numbers, so the skip sum's start, first_skip x_0 and all biases of the skip sum, is one as
// well: v and c are made on the host. No product is left of the first convolution.
#pragma once

#include "cuda/sampler_draw.cuh"
#include "cuda/sampler_layer.cuh"

namespace musicstar::cuda {

// Named barriers of the head: logits made, and used, by the parity of the step.
constexpr int kLogitsBarrier = 3, kUsedBarrier = 5;

template <int R, bool Clusters>
__device__ __forceinline__ void chain_of_head(const PipelineCall& call, const Place& place, unsigned char* shared,
                                              int warp) {
  Links<R, Clusters> links(call, place, shared);
  const int first_group = place.first_group, groups = place.groups;
  constexpr int kTiles = Spread<R>::kTiles, kSteps = Spread<R>::kSteps, kChain = 32 * Spread<R>::kWarps;
  constexpr int kLogitTiles = Spread<R>::kLogitTiles;
  constexpr PipelineShared kShared = pipeline_shared(R, 0);
  const Stand<R> stand(warp);
  Resident<kLogitTiles, kSteps> to_logits;
  to_logits.load(call.head_weights, warp, stand.lane);
  Resident<kTiles, kSteps> head;
  head.load(call.head_weights + fragments_of_logits(R), warp, stand.lane);
  const float* const logit_bias = call.head_constants + 6 * R;

  unsigned char* const rectified = shared + kShared.head;
  unsigned char* const hidden = shared + kShared.hidden;
  FrameCounter frames(call);
  for (Step step; step.sample < call.samples; step.advance(groups)) {
    const int parity = step.index % 2;
    float y[kTiles][4];
    const std::int64_t frame = frames.frame_of(step.sample);
    const float* const condition = call.head_condition +
                                   (frame * call.groups + first_group + step.group) * (R * kGroupLanes) +
                                   warp * kTiles * 128 + stand.lane * 4;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) load_four(y[tile], condition + tile * 128);

    float s[kTiles][4] = {};
    links.receive_s(step, stand, s);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[tile][i] = fmaxf(s[tile][i], 0.0f);
      store_rows(rectified, stand.row(tile), stand.column, s[tile]);
    }
    named_barrier_sync(kChainBarrier, kChain);
    head.accumulate(y, rectified, stand.lane);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) y[tile][i] = fmaxf(y[tile][i], 0.0f);
      store_rows(hidden, stand.row(tile), stand.column, y[tile]);
    }
    named_barrier_sync(kChainBarrier, kChain);
    float d[kLogitTiles][4] = {};
    to_logits.accumulate(d, hidden, stand.lane);

    if (step.index >= 2) named_barrier_sync(kUsedBarrier + parity, 2 * kChain);
    float* const logits = reinterpret_cast<float*>(shared + kShared.logits) + parity * kGroupLanes * kLogitStride;
#pragma unroll
    for (int tile = 0; tile < kLogitTiles; ++tile) {
      const int row = (warp * kLogitTiles + tile) * 16 + stand.group;
      float* const first = logits + stand.column * kLogitStride + row;
      const float low = __ldg(logit_bias + row), high = __ldg(logit_bias + row + 8);
      first[0] = d[tile][0] + low;
      first[kLogitStride] = d[tile][1] + low;
      first[8] = d[tile][2] + high;
      first[kLogitStride + 8] = d[tile][3] + high;
    }
    named_barrier_arrive(kLogitsBarrier + parity, 2 * kChain);
  }
}

template <int R, bool Clusters>
__device__ __forceinline__ void side_of_head(const PipelineCall& call, const Place& place, unsigned char* shared,
                                             int warp) {
  Links<R, Clusters> links(call, place, shared);
  const int first_group = place.first_group, groups = place.groups;
  constexpr int kTiles = Spread<R>::kTiles, kWarps = Spread<R>::kWarps, kSide = 32 * kWarps;
  constexpr int kLanesOfWarp = kGroupLanes / kWarps;
  constexpr PipelineShared kShared = pipeline_shared(R, 0);
  const Stand<R> stand(warp);
  float* const inputs = reinterpret_cast<float*>(shared + kShared.inputs);  // [group][lane][2]
  float* const kept_inputs = call.inputs + static_cast<std::int64_t>(first_group) * kGroupLanes * 2;
  for (int i = warp * 32 + stand.lane; i < groups * kGroupLanes * 2; i += kSide) inputs[i] = kept_inputs[i];

  float constants[kTiles][2][6];  // of this thread's rows
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 6; ++i) {
        constants[tile][half][i] = __ldg(call.head_constants + i * R + stand.row(tile) + 8 * half);
      }
    }
  }
  named_barrier_sync(kSideBarrier, kSide);

  const int steps = call.samples * groups;
  // What the first block starts step `sent` with: the inputs of its group.
  Step sent;
  const auto send_input = [&] {
    const float4 u = *reinterpret_cast<const float4*>(inputs + (sent.group * kGroupLanes + stand.column) * 2);
    float x[kTiles][4], s[kTiles][4];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float (&c)[6] = constants[tile][half];
        x[tile][2 * half] = fmaf(c[1], u.y, fmaf(c[0], u.x, c[2]));
        x[tile][2 * half + 1] = fmaf(c[1], u.w, fmaf(c[0], u.z, c[2]));
        s[tile][2 * half] = fmaf(c[4], u.y, fmaf(c[3], u.x, c[5]));
        s[tile][2 * half + 1] = fmaf(c[4], u.w, fmaf(c[3], u.z, c[5]));
      }
    }
    links.send_x(sent, stand, x);
    links.send_s(sent, stand, s);
    sent.advance(groups);
  };
  for (int group = 0; group < groups; ++group) send_input();

  for (Step step; step.sample < call.samples; step.advance(groups)) {
    const int parity = step.index % 2;
    // What the draws need beside logits, before these are waited for.
    float uniform[kLanesOfWarp] = {};
    int code[kLanesOfWarp] = {};
#pragma unroll
    for (int i = 0; i < kLanesOfWarp; ++i) {
      const std::int64_t b =
          static_cast<std::int64_t>(first_group + step.group) * kGroupLanes + warp * kLanesOfWarp + i;
      if (b >= call.lanes || (call.guided && i % 2 == 1)) continue;
      const std::int64_t lane = call.guided ? b / 2 : b, at = lane * call.samples + step.sample;
      if (call.forced != nullptr) {
        code[i] = call.forced[at];
      } else if (call.philox) {
        uniform[i] = uniform_of_philox(call.seed, call.first_lane + static_cast<std::uint64_t>(lane),
                                       call.first_index + static_cast<std::uint64_t>(step.sample));
      } else if (call.uniforms != nullptr) {
        uniform[i] = call.uniforms[at];
      }
    }
    named_barrier_sync(kLogitsBarrier + parity, 2 * kSide);
    float* const logits = reinterpret_cast<float*>(shared + kShared.logits) + parity * kGroupLanes * kLogitStride;
#pragma unroll
    for (int i = 0; i < kLanesOfWarp; ++i) {
      const int lane_of_group = warp * kLanesOfWarp + i;
      const std::int64_t b = static_cast<std::int64_t>(first_group + step.group) * kGroupLanes + lane_of_group;
      if (b >= call.lanes || (call.guided && i % 2 == 1)) continue;
      float* const row = logits + lane_of_group * kLogitStride;
      if (call.guided) warp_guide(row, row + kLogitStride, call.classes, call.guidance, stand.lane);
      if (call.forced == nullptr) {
        code[i] = warp_draw<float>(row, call.classes, uniform[i], call.temperature, stand.lane);
      }
      const std::int64_t at = (call.guided ? b / 2 : b) * call.samples + step.sample;
      if (stand.lane == 0) {
        call.codes[at] = static_cast<std::uint8_t>(code[i]);
        float* const input = inputs + (step.group * kGroupLanes + lane_of_group) * 2;
        for (float* fed = input; fed < input + (call.guided ? 4 : 2); fed += 2) {
          fed[0] = fed[1];
          fed[1] = input_of(static_cast<std::uint8_t>(code[i]));
        }
      }
      if (call.logits != nullptr) {
        for (int a = stand.lane; a < call.classes; a += 32) call.logits[at * call.classes + a] = row[a];
      }
    }
    if (step.index + 2 < steps) named_barrier_arrive(kUsedBarrier + parity, 2 * kSide);
    named_barrier_sync(kSideBarrier, kSide);
    if (sent.index < steps) send_input();
  }
  for (int i = warp * 32 + stand.lane; i < groups * kGroupLanes * 2; i += kSide) kept_inputs[i] = inputs[i];
}

}  // namespace musicstar::cuda
