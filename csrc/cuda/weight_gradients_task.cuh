// What the weight-gradient kernels (weight_gradients.h) are handed, and what they share: which product, tile and span
// of time a block has, and where a column of a tile comes from.
#pragma once

#include "cuda/instructions.cuh"
#include "cuda/weight_gradients.h"

namespace musicstar::cuda {

// The kernels' parameter. partial: [splits][rows][columns]; bias_partial: [splits][rows], or null.
struct WeightGradientTask {
  struct Product {
    const void* gradient[WeightGradient::kSources];
    std::int64_t channels[WeightGradient::kSources];
    const void* input;
    std::int64_t input_channels;
    std::int64_t first_shift, step;
    std::int64_t rows, columns;
    float* partial;
    float* bias_partial;
    int first_tile, tiles_across;
  };
  Product products[WeightGradients::kProducts];
  std::int64_t batch, time;
  std::int64_t chunks, chunks_per_sequence;
  int splits;
};

// A block's share: blockIdx.x numbers the tiles of all products (those that share gradient rows side by side, so that
// they find them in the cache), blockIdx.y the spans.
struct WeightGradientShare {
  int product, row_tile, column_tile, split;
  std::int64_t first_chunk, last_chunk;  // [first, last)
};

__device__ inline WeightGradientShare share_of_block(const WeightGradientTask& task) {
  WeightGradientShare share;
  const int tile = static_cast<int>(blockIdx.x);
  share.product = tile >= task.products[1].first_tile ? 1 : 0;
  const int tiles_across = task.products[share.product].tiles_across;
  const int within = tile - task.products[share.product].first_tile;
  share.row_tile = within / tiles_across;
  share.column_tile = within % tiles_across;
  share.split = static_cast<int>(blockIdx.y);
  share.first_chunk = task.chunks * share.split / task.splits;
  share.last_chunk = task.chunks * (share.split + 1) / task.splits;
  return share;
}

// Where a span stands: a chunk lies within one sequence.
struct ChunkPosition {
  std::int64_t sequence, time;

  __device__ ChunkPosition(const WeightGradientTask& task, std::int64_t index, int length)
      : sequence(index / task.chunks_per_sequence), time(index % task.chunks_per_sequence * length) {}
  __device__ void advance(const WeightGradientTask& task, int length) {
    time += length;
    if (time >= task.time) {
      time = 0;
      ++sequence;
    }
  }
};

// Row o of the result: a channel of one of the two gradients. `width` neighbours are of the same.
template <typename T>
struct GradientColumn {
  const T* first;  // of sample 0
  std::int64_t pitch;
  bool present;

  __device__ GradientColumn(const WeightGradientTask::Product& product, std::int64_t o) : present(o < product.rows) {
    const bool second = o >= product.channels[0];
    const std::int64_t channel = present ? (second ? o - product.channels[0] : o) : 0;
    const bool from_second = present && second;
    pitch = from_second ? product.channels[1] : product.channels[0];
    first = static_cast<const T*>(from_second ? product.gradient[1] : product.gradient[0]) + channel;
  }
};

// Column n of the result: an input channel at a tap's shift.
template <typename T>
struct InputColumn {
  const T* first;
  std::int64_t pitch, shift;
  bool present;

  __device__ InputColumn(const WeightGradientTask::Product& product, std::int64_t n)
      : pitch(product.input_channels), present(n < product.columns) {
    const std::int64_t tap = present ? n / product.input_channels : 0;
    first = static_cast<const T*>(product.input) + (present ? n % product.input_channels : 0);
    shift = product.first_shift - tap * product.step;
  }
};

// One for each path, in a file of its own.
void launch_weight_gradients_general(const WeightGradientTask& task, const WeightGradientPlan& plan, Element element,
                                     cudaStream_t stream);
void launch_weight_gradients_mma(const WeightGradientTask& task, const WeightGradientPlan& plan, cudaStream_t stream);
void launch_weight_gradients_wgmma(const WeightGradientTask& task, const WeightGradientPlan& plan, cudaStream_t stream);

}  // namespace musicstar::cuda
