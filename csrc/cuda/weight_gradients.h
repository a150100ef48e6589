// The weight gradients of a convolution whose sequences are time-major:
//
//   weight[o][i][k] = sum over b, t of gradient[b][t][o] * input[b][t - shift_k][i],   shift_k = first_shift - k * step
//   bias[o]         = sum over b, t of gradient[b][t][o]
//
// with input zero outside [0, T). Seen as one product over time, with a column n = (k, i) for each tap and input
// channel, it is gradient^T [O x BT] times shifted inputs [BT x KI]: a small result (98 thousand numbers for a decoder
// layer) out of a long sum (256 thousand terms for a batch of 16 seconds). So time is cut into `splits` spans, each
// block sums one tile of the result over one span in registers, and a second kernel adds the spans' partial results in
// their order: equal bits every time, without atomic additions.
//
// Two gradients that meet the same input (the decoder's residual and skip 1x1s meet z) are one product with their
// channels one after the other; products that belong together (a layer's) are one launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "musicstar/cuda_stacks.h"

namespace musicstar::cuda {

struct WeightGradient {
  struct Source {
    const void* gradient = nullptr;  // [B][T][channels], or null where there is no such source
    std::int64_t channels = 0;
    float* weight = nullptr;  // [channels][input_channels][taps], or null: not wanted
    float* bias = nullptr;    // [channels], or null: not wanted
  };
  static constexpr int kSources = 2;
  Source sources[kSources];
  const void* input = nullptr;  // [B][T][input_channels]
  std::int64_t input_channels = 0;
  int taps = 1;
  std::int64_t first_shift = 0, step = 0;

  std::int64_t rows() const { return sources[0].channels + sources[1].channels; }  // O
  std::int64_t columns() const { return taps * input_channels; }                   // K I
};

// Up to two products over the same B and T.
struct WeightGradients {
  static constexpr int kProducts = 2;
  Element element = Element::kFloat32;
  std::int64_t batch = 0, time = 0;
  int count = 0;
  WeightGradient products[kProducts];
};

// What a launch makes of the work: the tile that a block owns, and how many spans time is cut into.
struct WeightGradientPlan {
  StackPath path = StackPath::kGeneral;
  int tile_rows = 0, tile_columns = 0, chunk = 0;  // a chunk: the samples of one step
  int tiles = 0;                                   // of all products
  int splits = 0;
  std::int64_t chunks = 0;  // of all sequences, each of them ceil(T / chunk)

  std::int64_t scratch_bytes = 0;  // of the partial results
};

// The path that takes these products, at most `wanted`: the tensor-core ones need bf16 and channels that are multiples
// of 8 (mma) or 64 (wgmma).
StackPath weight_gradient_path(const WeightGradients& work, StackPath wanted);
WeightGradientPlan plan_weight_gradients(const WeightGradients& work, StackPath wanted, int multiprocessors);

// Queues both kernels. `scratch`: plan.scratch_bytes, aligned to 256 bytes.
void launch_weight_gradients(const WeightGradients& work, const WeightGradientPlan& plan, void* scratch,
                             cudaStream_t stream);

}  // namespace musicstar::cuda
