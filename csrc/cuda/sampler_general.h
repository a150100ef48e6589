// The sampler for every size, as the host sees it. The kernel: sampler_general.cu.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "musicstar/networks.h"

namespace musicstar::cuda {

// Lanes that one block decodes: one (or a guided pair), or, where lanes are many, four that share each weight.
constexpr int kGeneralLanes = 4;

// Matrices are [in][out], so that threads of neighbouring outputs read neighbouring weights. In order: first_skip
// [R][S]; of each layer dilated [K][R][2R] and residual beside skip [R][R + S]; head [S][S]; logits [S][A].
struct GeneralPlan {
  explicit GeneralPlan(const DecoderSizes& sizes);
  int depth, layers, residual, skip, kernel_size, classes;
  std::int64_t dilated, residual_and_skip, layer, head, logits,
      matrix_count;  // offsets; of layer 0, and from one to the next
  // first [K][R], its bias [R], first_skip's [S], of each layer [R + S], logits' [A].
  std::int64_t first_bias, first_skip_bias, layer_bias, logits_bias, vector_count;
  // Of one lane in a ring of all layers: slots of R floats.
  std::int64_t ring_slots;
};

template <typename Weight>
struct GeneralCall {
  explicit GeneralCall(const GeneralPlan& general_plan) : plan(general_plan) {}
  GeneralPlan plan;
  std::int64_t lanes = 0;  // that are decoded; in a guided call odd ones are the even ones before them, unheard
  bool guided = false;
  float guidance = 1.0f;
  const Weight* matrices = nullptr;
  const float* vectors = nullptr;
  const float* condition = nullptr;  // [frame][lane][depth 2R + S]
  float* rings = nullptr;            // [block][slot of all layers][R][lanes of a block]
  float* inputs = nullptr;           // [lane][K], oldest first
  int samples = 0;
  std::int64_t position = 0, pool = 1;
  const float* uniforms = nullptr;  // as PipelineCall's, which also says of which lanes
  const std::uint8_t* forced = nullptr;
  bool philox = false;
  std::uint64_t seed = 0, first_lane = 0, first_index = 0;
  float temperature = 1.0f;
  std::uint8_t* codes = nullptr;
  float* logits = nullptr;
};

// Of dynamic shared memory, for so many lanes a block.
std::int64_t general_shared_bytes(const GeneralPlan& plan, int lanes_of_block);

// Queues one launch with 1, 2 or kGeneralLanes lanes a block, guided ones not with 1; Weight is float or bf16. Throws
// Error.
template <typename Weight>
void launch_sampler_general(const GeneralCall<Weight>& call, int lanes_of_block, cudaStream_t stream);

}  // namespace musicstar::cuda
