// What the condition does to the layers and the head, projected once for each code frame instead of once a sample.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "musicstar/networks.h"

namespace musicstar::cuda {

// How the projected values lie: for the general kernel [frame][lane][row], rows as below; for the pipeline of
// `channels` channels in thread layouts (sampler_pipeline.h), the layers' and the head's apart.
struct ConditionCall {
  int frames = 0;
  std::int64_t lanes = 0;            // that are decoded
  bool guided = false;               // the odd ones hear zeros, the even ones the condition's lanes
  const float* condition = nullptr;  // [lanes, or half of them][frames][C]
  std::int64_t condition_channels = 0;
  std::int64_t rows = 0;           // depth 2R of the layers, then S of the head
  const float* weights = nullptr;  // [C][rows]
  const float* bias = nullptr;     // [rows]: of the condition's 1x1 and of the convolution that it meets

  float* projected = nullptr;        // general: [frame][lane][row]
  int channels = 0;                  // pipeline: R; 0 for the general kernel
  float* layer_condition = nullptr;  // pipeline: [frame][depth][group] of 2R x 8
  float* head_condition = nullptr;   // pipeline: [frame][group] of R x 8
};

std::int64_t condition_rows(const DecoderSizes& sizes);
// Host: [C][rows] weights, [rows] bias.
void pack_condition(const DecoderSizes& sizes, const DecoderWeights& weights, float* packed, float* bias);

// Queues the projection. Throws Error.
void launch_sampler_condition(const ConditionCall& call, cudaStream_t stream);

}  // namespace musicstar::cuda
