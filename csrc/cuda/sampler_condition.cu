// p[row][lane] = b[row] + sum_c W[row][c] frame[lane][c], for all layers and the head at once.
//
// A thread computes one row for 8 lanes, c in order; a block 256 rows, with the 8 frames in shared memory ([C][8], read
// as broadcasts). Weights are read coalesced, once for 8 lanes: 2.7 MB for the full network, which stay in L2. At 40 M
// samples a second (50,000 frames) that is 33 G multiply-adds and 17 GB/s: nothing, by the side of the layers.
#include "cuda/sampler_condition.h"

#include <algorithm>

#include "cuda/instructions.cuh"
#include "cuda/launch.h"
#include "cuda/sampler_pipeline.h"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;

// Where row `row` (of `channels` x `halves`) of lane `column` of a group lies in its thread layout.
__device__ __forceinline__ int place_in_thread_layout(int row, int column, int channels, int halves) {
  const int warps = channels >= 64 ? 4 : 2;
  const int tiles = channels / 16 / warps;
  const int half = row / channels, tile_of_half = row % channels / 16, row_of_tile = row % 16;
  const int warp = tile_of_half / tiles, tile = half * tiles + tile_of_half % tiles;
  const int lane = row_of_tile % 8 * 4 + column / 2;
  return ((warp * halves * tiles + tile) * 32 + lane) * 4 + row_of_tile / 8 * 2 + column % 2;
}

// resources: registers <= 64, shared <= 32 KiB, threads 256
__global__ void __launch_bounds__(kThreads) sampler_condition_kernel(const ConditionCall call) {
  float* const frames = dynamic_shared<float>();
  const int frame = static_cast<int>(blockIdx.z), group = static_cast<int>(blockIdx.y);
  const std::int64_t first_lane = static_cast<std::int64_t>(group) * kGroupLanes;
  const int count = static_cast<int>(call.condition_channels) * kGroupLanes;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int c = i / kGroupLanes;
    const std::int64_t lane = first_lane + i % kGroupLanes;
    const bool heard = lane < call.lanes && !(call.guided && lane % 2 == 1);
    const std::int64_t row = (call.guided ? lane / 2 : lane) * call.frames + frame;
    frames[i] = heard ? call.condition[row * call.condition_channels + c] : 0.0f;
  }
  __syncthreads();
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= call.rows) return;
  float sum[kGroupLanes];
  for (float& value : sum) value = call.bias[row];
  for (int c = 0; c < static_cast<int>(call.condition_channels); ++c) {
    const float weight = call.weights[c * call.rows + row];
#pragma unroll
    for (int lane = 0; lane < kGroupLanes; ++lane) sum[lane] = fmaf(weight, frames[c * kGroupLanes + lane], sum[lane]);
  }
  const std::int64_t groups = (call.lanes + kGroupLanes - 1) / kGroupLanes;
  if (call.channels == 0) {
#pragma unroll
    for (int lane = 0; lane < kGroupLanes; ++lane) {
      if (first_lane + lane < call.lanes) {
        call.projected[(frame * call.lanes + first_lane + lane) * call.rows + row] = sum[lane];
      }
    }
    return;
  }
  const int channels = call.channels;
  const std::int64_t depth = (call.rows - channels) / (2 * channels);
  const std::int64_t layer = row / (2 * channels);
  const int row_of_layer = static_cast<int>(row % (2 * channels));
  float* const place =
      layer < depth ? call.layer_condition + ((frame * depth + layer) * groups + group) * 2 * channels * kGroupLanes
                    : call.head_condition + (frame * groups + group) * channels * kGroupLanes;
  const int halves = layer < depth ? 2 : 1;
#pragma unroll
  for (int lane = 0; lane < kGroupLanes; ++lane) {
    place[place_in_thread_layout(row_of_layer, lane, channels, halves)] = sum[lane];
  }
}

}  // namespace

std::int64_t condition_rows(const DecoderSizes& sizes) {
  return sizes.depth() * 2 * sizes.residual_channels + sizes.skip_channels;
}

void pack_condition(const DecoderSizes& sizes, const DecoderWeights& weights, float* packed, float* bias) {
  const std::int64_t rows = condition_rows(sizes), each = 2 * sizes.residual_channels;
  const auto put = [&](std::int64_t first, std::int64_t count, const Convolution& condition, const float* other_bias) {
    for (std::int64_t row = 0; row < count; ++row) {
      bias[first + row] = condition.bias[row] + other_bias[row];
      for (std::int64_t c = 0; c < sizes.condition_channels; ++c) {
        packed[c * rows + first + row] = condition.weight[row * sizes.condition_channels + c];
      }
    }
  };
  for (std::int64_t l = 0; l < sizes.depth(); ++l) {
    put(l * each, each, weights.layers[l].condition, weights.layers[l].dilated.bias);
  }
  put(sizes.depth() * each, sizes.skip_channels, weights.head_condition, weights.head.bias);
}

void launch_sampler_condition(const ConditionCall& call, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid =
      dim3(static_cast<unsigned>((call.rows + kThreads - 1) / kThreads),
           static_cast<unsigned>((call.lanes + kGroupLanes - 1) / kGroupLanes), static_cast<unsigned>(call.frames));
  shape.block = dim3(kThreads);
  shape.shared_bytes = static_cast<std::size_t>(call.condition_channels) * kGroupLanes * sizeof(float);
  launch(sampler_condition_kernel, shape, stream, call);
}

}  // namespace musicstar::cuda
