// One layer of the encoder for any number of channels and taps, in fp32 or with bf16 operands, in two kernels:
//
//   h = ReLU(b1 + sum_k W1_k x[t + (k - K/2) d])                                    dilated_kernel
//   y = x + u * sigmoid(v),  [u; v] = b2 + W2 h   (or y = x + b2 + W2 h)            pointwise_kernel
//
// Both are tiled matrix products: a block of 256 threads makes 64 rows x 64 channels, a thread 4 x 4 of them, from
// slabs of 16 inner channels in shared memory (4.3 KiB of rows, 4 KiB of weights, twice that for the two halves of the
// GLU). Rows are read once per 64 output channels, weights once per 64 rows. An output is one chain of multiply-adds,
// taps outermost, input channels in order, whatever tile it is in: pieces give the same bits.
//
// Bound: 2 C (K C + outputs) flops a row on the plain units; 32,768 rows of C = 128: 5.4 GFLOP, 80 us at 67 TFLOP/s;
// shared memory feeds 16 multiply-adds with 8 loaded values, which keeps it to about a third of that (predicted). It is
// the path that checks the others, and that of odd sizes.
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/encoder_layers.h"
#include "cuda/launch.h"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;       // rows, and output channels, of a block
constexpr int kMicro = 4;       // of a thread, both ways
constexpr int kSlab = 16;       // input channels at a time
constexpr int kRowStride = 68;  // keeps neighbouring channels in different banks, and rows aligned to 16 bytes

__device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x); }

// weights[slab][64]: input channels first_in .. +15, output channels first_out .. +63 of [in][out]; zeros outside.
template <class Operand>
__device__ __forceinline__ void load_weights(float* tile, const Operand* weights, std::int64_t in, std::int64_t out,
                                             std::int64_t first_in, std::int64_t first_out, std::int64_t last_out) {
  for (int i = thread(); i < kSlab * kTile; i += kThreads) {
    const std::int64_t input = first_in + i / kTile, output = first_out + i % kTile;
    tile[i] = input < in && output < last_out ? operand_value(weights[input * out + output]) : 0.0f;
  }
}

// sums += rows[slab][.. 4 of this thread] x weights[slab][.. 4 of this thread].
__device__ __forceinline__ void multiply(float (&sums)[kMicro][kMicro], const float* rows, const float* weights) {
  const float* const r = rows + thread() / (kTile / kMicro) * kMicro;
  const float* const w = weights + thread() % (kTile / kMicro) * kMicro;
#pragma unroll
  for (int i = 0; i < kSlab; ++i) {
    const float4 row4 = *reinterpret_cast<const float4*>(r + i * kRowStride);
    const float4 weight4 = *reinterpret_cast<const float4*>(w + i * kTile);
    const float row[kMicro] = {row4.x, row4.y, row4.z, row4.w};
    const float weight[kMicro] = {weight4.x, weight4.y, weight4.z, weight4.w};
#pragma unroll
    for (int a = 0; a < kMicro; ++a) {
#pragma unroll
      for (int b = 0; b < kMicro; ++b) sums[a][b] = fmaf(row[a], weight[b], sums[a][b]);
    }
  }
}

__device__ __forceinline__ std::int64_t first_row() { return static_cast<std::int64_t>(blockIdx.x) * kTile; }
__device__ __forceinline__ std::int64_t first_channel() { return static_cast<std::int64_t>(blockIdx.y) * kTile; }

template <class Rows>
struct Dilated {
  Rows x;
  RingView view;
  std::int64_t rows, channels, kernel_size, dilation;
  const typename Rows::Operand* weights;
  const float* bias;
  typename Rows::Operand* hidden;
};

// resources: registers <= 128, shared <= 9 KiB, threads 256
template <class Rows>
__global__ void __launch_bounds__(kThreads, 2) encoder_dilated_kernel(const Dilated<Rows> p) {
  MUSICSTAR_SHARED(float4, rows4, kSlab * kRowStride / 4);
  MUSICSTAR_SHARED(float4, weights4, kSlab * kTile / 4);
  float* const rows = reinterpret_cast<float*>(&rows4[0]);
  float* const weights = reinterpret_cast<float*>(&weights4[0]);
  const std::int64_t row = first_row() + thread() / (kTile / kMicro) * kMicro;
  const std::int64_t channel = first_channel() + thread() % (kTile / kMicro) * kMicro;

  float sums[kMicro][kMicro];
#pragma unroll
  for (int a = 0; a < kMicro; ++a) {
#pragma unroll
    for (int b = 0; b < kMicro; ++b) sums[a][b] = channel + b < p.channels ? p.bias[channel + b] : 0.0f;
  }
  for (std::int64_t k = 0; k < p.kernel_size; ++k) {
    const std::int64_t offset = (k - p.kernel_size / 2) * p.dilation;
    for (std::int64_t first = 0; first < p.channels; first += kSlab) {
      for (int i = thread(); i < kSlab * kTile; i += kThreads) {
        const std::int64_t source = first_row() + i / kSlab + offset, input = first + i % kSlab;
        const bool there = input < p.channels && p.view.holds(source);
        rows[i % kSlab * kRowStride + i / kSlab] =
            there ? p.x.operand(p.view.index(source) * p.channels + input) : 0.0f;
      }
      load_weights(weights, p.weights + k * p.channels * p.channels, p.channels, p.channels, first, first_channel(),
                   p.channels);
      __syncthreads();
      multiply(sums, rows, weights);
      __syncthreads();
    }
  }
#pragma unroll
  for (int a = 0; a < kMicro; ++a) {
#pragma unroll
    for (int b = 0; b < kMicro; ++b) {
      if (row + a < p.rows && channel + b < p.channels) {
        p.hidden[(row + a) * p.channels + channel + b] = as_operand<typename Rows::Operand>(fmaxf(sums[a][b], 0.0f));
      }
    }
  }
}

template <class Rows>
struct Pointwise {
  Rows x, y;
  RingView x_view, y_view;
  std::int64_t rows, channels;
  const typename Rows::Operand* weights;
  const float* bias;
  const typename Rows::Operand* hidden;
};

// As exact as the product before it.
__device__ __forceinline__ float gate_of(float v, float /*operand*/) { return 1.0f / (1.0f + expf(-v)); }
__device__ __forceinline__ float gate_of(float v, bf16 /*operand*/) { return fast_sigmoid(v); }

// resources: registers <= 128, shared <= 13 KiB, threads 256
template <class Rows, bool gated>
__global__ void __launch_bounds__(kThreads, 2) encoder_pointwise_kernel(const Pointwise<Rows> p) {
  using Operand = typename Rows::Operand;
  constexpr int kParts = gated ? 2 : 1;
  MUSICSTAR_SHARED(float4, rows4, kSlab * kRowStride / 4);
  MUSICSTAR_SHARED(float4, weights4, kParts * kSlab * kTile / 4);
  float* const rows = reinterpret_cast<float*>(&rows4[0]);
  float* const weights = reinterpret_cast<float*>(&weights4[0]);
  const std::int64_t row = first_row() + thread() / (kTile / kMicro) * kMicro;
  const std::int64_t channel = first_channel() + thread() % (kTile / kMicro) * kMicro;

  float sums[kParts][kMicro][kMicro];
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int a = 0; a < kMicro; ++a) {
#pragma unroll
      for (int b = 0; b < kMicro; ++b) {
        sums[part][a][b] = channel + b < p.channels ? p.bias[part * p.channels + channel + b] : 0.0f;
      }
    }
  }
  for (std::int64_t first = 0; first < p.channels; first += kSlab) {
    for (int i = thread(); i < kSlab * kTile; i += kThreads) {
      const std::int64_t source = first_row() + i / kSlab, input = first + i % kSlab;
      const bool there = input < p.channels && source < p.rows;
      rows[i % kSlab * kRowStride + i / kSlab] = there ? operand_value(p.hidden[source * p.channels + input]) : 0.0f;
    }
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      load_weights(weights + part * kSlab * kTile, p.weights, p.channels, kParts * p.channels, first,
                   part * p.channels + first_channel(), (part + 1) * p.channels);
    }
    __syncthreads();
#pragma unroll
    for (int part = 0; part < kParts; ++part) multiply(sums[part], rows, weights + part * kSlab * kTile);
    __syncthreads();
  }
#pragma unroll
  for (int a = 0; a < kMicro; ++a) {
#pragma unroll
    for (int b = 0; b < kMicro; ++b) {
      if (row + a >= p.rows || channel + b >= p.channels) continue;
      float value = sums[0][a][b];
      if constexpr (gated) value *= gate_of(sums[1][a][b], Operand{});
      const float x = p.x.load(p.x_view.index(row + a) * p.channels + channel + b);
      p.y.store(p.y_view.index(row + a) * p.channels + channel + b, x + value);
    }
  }
}

unsigned tiles(std::int64_t n) { return static_cast<unsigned>((n + kTile - 1) / kTile); }

}  // namespace

template <class Rows>
void launch_general_layer(const EncoderSizes& sizes, const GeneralLayerCall<Rows>& call, cudaStream_t stream) {
  const LaunchShape shape = {dim3(tiles(call.rows), tiles(sizes.channels)), dim3(kThreads)};
  Dilated<Rows> dilated = {call.x,        call.x_view,  call.rows,         sizes.channels, sizes.kernel_size,
                           call.dilation, call.dilated, call.dilated_bias, call.hidden};
  launch(encoder_dilated_kernel<Rows>, shape, stream, dilated);
  Pointwise<Rows> pointwise = {call.x,         call.y,         call.x_view,         call.y_view, call.rows,
                               sizes.channels, call.pointwise, call.pointwise_bias, call.hidden};
  if (sizes.gated) {
    launch(encoder_pointwise_kernel<Rows, true>, shape, stream, pointwise);
  } else {
    launch(encoder_pointwise_kernel<Rows, false>, shape, stream, pointwise);
  }
}

template void launch_general_layer(const EncoderSizes&, const GeneralLayerCall<Fp32Rows>&, cudaStream_t);
template void launch_general_layer(const EncoderSizes&, const GeneralLayerCall<Bf16Rows>&, cudaStream_t);

}  // namespace musicstar::cuda
