// The sampler with one layer a multiprocessor, as the host sees it: what it is called with, how its data lie, which
// sizes it has. The kernel and its equation: sampler_pipeline.cu.
//
// Lanes go in groups of 8, the columns of one tensor-core product; lanes that are missing in the last group are padded.
// A guided lane takes two columns, an even one that hears the condition and the odd one after it, which hears zeros.
// A "thread layout" is the order in which the threads of one role hold the accumulators of their tiles, so that the
// same thread of the next block picks up 16 bytes with one load: [warp][tile of the warp][lane of the warp][4 floats].
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "musicstar/networks.h"

namespace musicstar::cuda {

constexpr int kGroupLanes = 8;
constexpr int kMostClasses = 256;
// Groups on their way between two neighbours of a cluster.
constexpr int kInboxSlots = 8;

// How R channels (has_layer_kernels) are spread over the warps of one role (the chain's, or the side's) of a block.
template <int R>
struct Spread {
  static_assert(R == 32 || R == 64 || R == 128, "the table of sizes");
  static constexpr int kWarps = R >= 64 ? 4 : 2;
  static constexpr int kTiles = R / 16 / kWarps;  // of 16 rows, of each warp, of a matrix of R rows
  static constexpr int kSteps = R / 16;           // of 16 columns
  static constexpr int kLogitTiles = kMostClasses / 16 / kWarps;
  static constexpr int kThreads = 2 * kWarps * 32;
};

// Where a block's dynamic shared memory holds what, in bytes. The inboxes lie first and at the same place in every
// block: a neighbour writes there.
struct PipelineShared {
  static constexpr int kBarriers = 0;  // full and empty, of x and of s, one a slot
  static constexpr int kHigh = 4 * kInboxSlots * 8;
  int low, skip, layer, head, bytes;
  // Layers: 4 x [2R][8] floats, condition and past tap of coming steps; 4 x [R][8] bf16, past inputs; 2 x [R][8] z.
  int past, gated;
  // Head: [R][8] bf16 twice; logits 2 x [8][kLogitStride]; codes 2 x [8]; inputs [groups of the pipeline][8][2].
  int hidden, logits, codes, inputs;
};
constexpr int kLogitStride = 260;  // of 4 banks more than a multiple of 32: no conflicts
constexpr int kOlderSlots = 4;

__host__ __device__ constexpr PipelineShared pipeline_shared(int channels, int groups) {
  PipelineShared s = {};
  const int row = kGroupLanes * 2;  // bytes of a channel in bf16
  s.low = PipelineShared::kHigh + kInboxSlots * channels * row;
  s.skip = s.low + kInboxSlots * channels * row;
  s.layer = s.head = s.skip + kInboxSlots * channels * 2 * row;
  s.past = s.layer + kOlderSlots * 2 * channels * 2 * row;
  s.gated = s.past + kOlderSlots * channels * row;
  s.hidden = s.head + channels * row;
  s.logits = s.hidden + channels * row;
  s.codes = s.logits + 2 * kGroupLanes * kLogitStride * 4;
  s.inputs = s.codes + 2 * kGroupLanes;
  const int layer_end = s.gated + 2 * channels * row, head_end = s.inputs + groups * kGroupLanes * 8;
  s.bytes = layer_end > head_end ? layer_end : head_end;
  return s;
}

// The packed weights: fragments of mma_bf16_m16n8k16, [warp][tile][step][lane] of 16 bytes. A layer's matrices follow
// each other: current tap (a warp's gates, then its filters), residual, past tap (likewise), skip. The head's: logits
// (rows beyond the classes are zero), head.
__host__ __device__ constexpr std::int64_t fragments_of_square(std::int64_t channels) {
  return channels * channels / 8;
}
__host__ __device__ constexpr std::int64_t fragments_of_layer(std::int64_t channels) {
  return 6 * fragments_of_square(channels);
}
__host__ __device__ constexpr std::int64_t fragments_of_logits(std::int64_t channels) {
  return kMostClasses * channels / 8;
}
__host__ __device__ constexpr std::int64_t fragments_of_head(std::int64_t channels) {
  return fragments_of_logits(channels) + fragments_of_square(channels);
}

// Constants of the head block: [6][R] (first convolution: older tap, newer tap, bias; what the input is to the skip
// sum: the same three), then the logits' biases [256].
__host__ __device__ constexpr std::int64_t constants_of_head(std::int64_t channels) {
  return 6 * channels + kMostClasses;
}

// What blocks hand over through L2, of one group, in words of 32 bits each beside the number of its sample: x in bf16
// twice (x = high + low) and the skip sum in fp32 (sampler_links.cuh).
__host__ __device__ constexpr std::int64_t words_of_packet(std::int64_t channels) { return channels * 2 * kGroupLanes; }

// Slots of all layers before layer l in the ring of one group; a layer has a slot for each step of its dilation.
__host__ __device__ inline std::int64_t ring_slots_before(std::int64_t l, std::int64_t layers) {
  return l / layers * ((std::int64_t{1} << layers) - 1) + ((std::int64_t{1} << (l % layers)) - 1);
}

struct PipelineCall {
  int depth = 0, layers = 0, classes = 0;
  int pipelines = 1;
  int blocks = 0;          // of a pipeline: depth + 1, and idle ones to fill its last cluster
  int cluster = 1;         // blocks of a cluster
  int groups = 0;          // of all pipelines
  std::int64_t lanes = 0;  // that are decoded: columns
  bool guided = false;
  float guidance = 1.0f;

  const uint4* layer_weights = nullptr;    // [depth][fragments_of_layer]
  const uint4* head_weights = nullptr;     // [fragments_of_head]
  const float* residual_bias = nullptr;    // [depth][R]
  const float* head_constants = nullptr;   // [constants_of_head]
  const float* layer_condition = nullptr;  // [frame][depth][group] of 2R x 8 in thread layout
  const float* head_condition = nullptr;   // [frame][group] of R x 8 in thread layout

  unsigned char* rings = nullptr;    // [slots before layer l] x groups, then [group][slot][R][8] bf16
  float* inputs = nullptr;           // [group][8][2]: the last but one input and the last
  std::uint64_t* packets = nullptr;  // [block that receives][group][words_of_packet]
  // Samples that all launches so far have made: with the one of a launch, the number of a sample, from 1.
  std::uint32_t tick = 0;

  int samples = 0;            // of this launch
  std::int64_t position = 0;  // of its first one
  std::int64_t pool = 1;

  // The call's arrays on the device, of this launch's samples, and of `lanes` lanes, or, guided, half as many.
  const float* uniforms = nullptr;       // [lanes][samples]
  const std::uint8_t* forced = nullptr;  // [lanes][samples]
  bool philox = false;
  std::uint64_t seed = 0, first_lane = 0, first_index = 0;
  float temperature = 1.0f;
  std::uint8_t* codes = nullptr;  // [lanes][samples]
  float* logits = nullptr;        // [lanes][samples][classes], may be null
};

// How many blocks (whole clusters of `cluster`) of the kernel run at the same time on the current device; 0 where it
// does not run at all.
int pipeline_blocks_at_once(int channels, int cluster, int groups_of_a_pipeline);

// Queues one launch: `call.samples` samples of every lane. Throws Error.
void launch_sampler_pipeline(int channels, const PipelineCall& call, cudaStream_t stream);

}  // namespace musicstar::cuda
