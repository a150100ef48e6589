// The encoder's kernels as the host sees them. Rows are positions in time; every launch works on `rows` rows that
// follow each other, `x` and `y` saying where they lie in their rings. All is queued on `stream`.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/encoder_rows.cuh"
#include "musicstar/networks.h"

namespace musicstar::cuda {

// --- One layer, fused: encoder_layer.cu
// ---------------------------------------------------------------------------------

// Whether a layer of these sizes can be fused on a device that gives a block `shared_limit` bytes of shared memory.
bool encoder_layer_fits(const EncoderSizes& sizes, std::int64_t shared_limit);

// Of one layer's weights, packed: a whole number of 16-byte words of bf16, then its biases in fp32.
std::int64_t encoder_layer_bytes(const EncoderSizes& sizes);
void pack_encoder_layer(const EncoderSizes& sizes, const EncoderWeights::Layer& layer, void* packed);

struct EncoderLayerCall {
  Bf16Rows x, y;
  RingView x_view, y_view;
  std::int64_t rows = 0;
  std::int64_t dilation = 1;
  const void* packed = nullptr;
};
void launch_encoder_layer(const EncoderSizes& sizes, const EncoderLayerCall& call, std::int64_t shared_limit,
                          cudaStream_t stream);

// --- One layer of any size, in two steps: encoder_general.cu
// -----------------------------------------------------------

template <class Rows>
struct GeneralLayerCall {
  Rows x, y;
  RingView x_view, y_view;
  std::int64_t rows = 0;
  std::int64_t dilation = 1;
  const typename Rows::Operand* dilated = nullptr;    // [K][C][C], output channel last
  const typename Rows::Operand* pointwise = nullptr;  // [C][outputs], output channel last
  const float* dilated_bias = nullptr;
  const float* pointwise_bias = nullptr;
  typename Rows::Operand* hidden = nullptr;  // [rows][C], scratch
};
template <class Rows>
void launch_general_layer(const EncoderSizes& sizes, const GeneralLayerCall<Rows>& call, cudaStream_t stream);

// --- The first convolution and the pooling: encoder_ends.cu
// ------------------------------------------------------------

template <class Rows>
struct StartCall {
  const std::uint8_t* codes = nullptr;
  RingView codes_view;
  Rows y;
  RingView y_view;
  std::int64_t rows = 0;
  const float* weights = nullptr;  // [K][C]
  const float* bias = nullptr;
};
template <class Rows>
void launch_encoder_start(const EncoderSizes& sizes, const StartCall<Rows>& call, cudaStream_t stream);

template <class Rows>
struct PoolCall {
  Rows x;
  RingView x_view;
  std::int64_t rows = 0;
  std::int64_t in_frame = 0;           // samples that the first frame already holds,
  const float* sums_before = nullptr;  // [C]: their sums
  float* sums_after = nullptr;         // [C] out: those of the last frame, where it is not complete; another place
  float* means = nullptr;              // [(in_frame + rows) / pool][C], scratch
  const float* code = nullptr;         // [C][code channels]
  const float* code_bias = nullptr;
  float* frames = nullptr;  // [(in_frame + rows) / pool][code channels], out
};
template <class Rows>
void launch_encoder_pool(const EncoderSizes& sizes, const PoolCall<Rows>& call, cudaStream_t stream);

}  // namespace musicstar::cuda
