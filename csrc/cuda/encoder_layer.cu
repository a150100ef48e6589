// One layer of the encoder in one kernel, on tensor cores: C in {32, 64, 128} channels, 3 taps, bf16 operands and fp32
// sums.
//
//   h = ReLU(b1 + sum_k W1_k x[t + (k - 1) d])
//   y = x + u * sigmoid(v),  [u; v] = b2 + W2 h       Fig. 4b;  y = x + b2 + W2 h  in Fig. 4a
//
// A block takes 256 rows (128 for the narrower ones), a warp 16 of them and all channels. Nothing of x passes through
// shared memory: the order of a product's inner index is free, as long as both operands have the same one, so a lane
// takes 8 neighbouring channels of a row (16 bytes of the `high` plane, straight from L2 or L1) and calls them the
// inner indices that mma wants from it. With q = lane % 4, of step s (0, 1) of a slab of 32 channels:
//
//   inner indices 2 q, 2 q + 1        channels 8 q + 4 s, 8 q + 4 s + 1
//   inner indices 2 q + 8, 2 q + 9    channels 8 q + 4 s + 2, 8 q + 4 s + 3
//
// The sums h come out in the layout in which mma wants its left operand: packed to bf16 they are the second product's,
// without leaving the registers. The output channels of W2 are dealt to the columns of four neighbouring tiles so that
// a lane again ends with 8 neighbouring channels of a row: residual and result are 16-byte accesses.
//
// Weights (packed in the order in which lanes read them: 16 bytes a lane, no bank twice) lie in shared memory: the taps
// arrive one after the other while the first already multiplies. 2 C (3 C + outputs) bytes = 160 KiB for C = 128, which
// an A100 and an H100 give a block; where the device gives 100 KiB, W2 takes the taps' place after the first product.
//
// Bound, C = 128, a row: 81,920 multiply-adds; 768 bytes of taps (from L2; neighbouring taps of a small dilation from
// L1), 512 of residual, 512 written. 32,768 rows, one layer: 5.4 GFLOP, 6.8 us at 790 TFLOP/s, about 11 us at the rate
// that mma.sync reaches on an H100-class device; 59 MB through L2, about 11 us at 5.5 TB/s; 21 MB of weights for 132
// blocks, overlapped but for the first tap. So about 12 us a layer and 0.7 ms for the 56 layers of 2 seconds of audio,
// 3000 times real time: a small part of a translation, which is why there is no warpgroup version. These are
// predictions: the kernel has been compiled and checked on an emulated GPU, not yet run on a real one.
#include <cuda_runtime.h>

#include <algorithm>
#include <stdexcept>

#include "cuda/encoder_layers.h"
#include "cuda/launch.h"

namespace musicstar::cuda {

namespace {

// Of a block: as many as registers allow, for 128 channels one block to a multiprocessor, otherwise two or more.
template <int C>
constexpr int kThreads = C == 128 ? 512 : 256;
constexpr int kWarpRows = 16;
template <int C>
constexpr int kRows = kThreads<C> / kWarp * kWarpRows;
constexpr int kTaps = 3;
constexpr int kSlab = 32;  // channels that a 16-byte access of four lanes covers

struct Fused {
  Bf16Rows x, y;
  RingView x_view, y_view;
  std::int64_t rows;
  std::int64_t dilation;
  const uint4* weights;  // the taps, then the pointwise weights
  const float* biases;   // [C] of the taps, [outputs] of the pointwise
  bool in_place;         // the pointwise weights take the taps' place in shared memory
};

// Waits for all but the newest groups of copies: tap `tap` of `kTaps`, the pointwise weights being one more.
__device__ __forceinline__ void wait_for_tap(int tap) {
  if (tap == 0) {
    cp_async_wait<kTaps>();
  } else if (tap == 1) {
    cp_async_wait<kTaps - 1>();
  } else {
    cp_async_wait<kTaps - 2>();
  }
  __syncthreads();
}

__device__ __forceinline__ void stage(uint4* shared, const uint4* global, int words) {
  for (int i = static_cast<int>(threadIdx.x); i < words; i += static_cast<int>(blockDim.x))
    cp_async_16(shared + i, global + i);
  cp_async_commit();
}

// Two values of x, and what is left of them after rounding.
__device__ __forceinline__ void split(float x0, float x1, std::uint32_t& high, std::uint32_t& low) {
  high = pack_bf16(x0, x1);
  const float2 rounded = unpack_bf16(high);
  low = pack_bf16(x0 - rounded.x, x1 - rounded.y);
}

// resources: registers <= 128, shared <= 160 KiB, threads 512
template <int C, bool gated>
__global__ void __launch_bounds__(kThreads<C>, C == 128 ? 1 : 2) encoder_layer_kernel(const Fused p) {
  constexpr int kSlabs = C / kSlab;
  constexpr int kTiles = C / 8;
  constexpr int kParts = gated ? 2 : 1;
  constexpr int kTapWords = C * C / 8;
  constexpr int kPointwiseWords = kParts * kTapWords;
  uint4* const weights = dynamic_shared<uint4>();
  uint4* const pointwise = p.in_place ? weights : weights + kTaps * kTapWords;

  for (int tap = 0; tap < kTaps; ++tap) stage(weights + tap * kTapWords, p.weights + tap * kTapWords, kTapWords);
  stage(pointwise, p.weights + kTaps * kTapWords, p.in_place ? 0 : kPointwiseWords);

  const int lane = lane_of_thread();
  const int group = lane / 4, quad = lane % 4;
  // This lane's rows are `row` and `row + 8`, its channels of slab s are `32 s + 8 quad` and the next 7.
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRows<C> + warp_of_thread() * kWarpRows + group;

  const auto fetch = [&](int step, uint4(&a)[2]) {
    const std::int64_t source = row + (step / kSlabs - kTaps / 2) * p.dilation;
    const int channel = step % kSlabs * kSlab + 8 * quad;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t r = source + 8 * half;
      a[half] = make_uint4(0, 0, 0, 0);
      if (p.x_view.holds(r)) a[half] = *reinterpret_cast<const uint4*>(p.x.high + p.x_view.index(r) * C + channel);
    }
  };

  float hidden[kTiles][4];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const float2 bias = *reinterpret_cast<const float2*>(p.biases + 8 * tile + 2 * quad);
    hidden[tile][0] = hidden[tile][2] = bias.x;
    hidden[tile][1] = hidden[tile][3] = bias.y;
  }
  uint4 next[2];
  fetch(0, next);
#pragma unroll 1
  for (int tap = 0; tap < kTaps; ++tap) {
    wait_for_tap(tap);
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
      const int step = tap * kSlabs + slab;
      const std::uint32_t even[4] = {next[0].x, next[1].x, next[0].y, next[1].y};
      const std::uint32_t odd[4] = {next[0].z, next[1].z, next[0].w, next[1].w};
      if (step + 1 < kTaps * kSlabs) fetch(step + 1, next);
      const uint4* const from = weights + step * kTiles * kWarp + lane;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 w = from[tile * kWarp];
        const std::uint32_t w_even[2] = {w.x, w.y}, w_odd[2] = {w.z, w.w};
        mma_bf16_m16n8k16(hidden[tile], even, w_even);
        mma_bf16_m16n8k16(hidden[tile], odd, w_odd);
      }
    }
  }

  std::uint32_t h[C / 16][4];
#pragma unroll
  for (int step = 0; step < C / 16; ++step) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const float (&sums)[4] = hidden[2 * step + part];
      h[step][2 * part] = pack_bf16(fmaxf(sums[0], 0.0f), fmaxf(sums[1], 0.0f));
      h[step][2 * part + 1] = pack_bf16(fmaxf(sums[2], 0.0f), fmaxf(sums[3], 0.0f));
    }
  }
  if (p.in_place) {
    __syncthreads();  // every warp is done with the taps
    stage(pointwise, p.weights + kTaps * kTapWords, kPointwiseWords);
  }
  cp_async_wait<0>();
  __syncthreads();

  const float* const pointwise_bias = p.biases + C;
#pragma unroll 1
  for (int slab = 0; slab < kSlabs; ++slab) {  // of output channels
    const int channel = slab * kSlab + 8 * quad;
    float sums[kParts][4][4];
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int tile = 0; tile < 4; ++tile) {
        const float2 bias = *reinterpret_cast<const float2*>(pointwise_bias + part * C + channel + 2 * tile);
        sums[part][tile][0] = sums[part][tile][2] = bias.x;
        sums[part][tile][1] = sums[part][tile][3] = bias.y;
        const uint4* const from = pointwise + ((slab * kParts + part) * 4 + tile) * kSlabs * kWarp + lane;
#pragma unroll
        for (int inner = 0; inner < kSlabs; ++inner) {
          const uint4 w = from[inner * kWarp];
          const std::uint32_t w_even[2] = {w.x, w.y}, w_odd[2] = {w.z, w.w};
          mma_bf16_m16n8k16(sums[part][tile], h[2 * inner], w_even);
          mma_bf16_m16n8k16(sums[part][tile], h[2 * inner + 1], w_odd);
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t r = row + 8 * half;
      if (r >= p.rows) continue;
      const std::int64_t at = p.x_view.index(r) * C + channel;
      const uint4 high = *reinterpret_cast<const uint4*>(p.x.high + at);
      const uint4 low = *reinterpret_cast<const uint4*>(p.x.low + at);
      const std::uint32_t highs[4] = {high.x, high.y, high.z, high.w}, lows[4] = {low.x, low.y, low.z, low.w};
      std::uint32_t new_highs[4], new_lows[4];
#pragma unroll
      for (int tile = 0; tile < 4; ++tile) {
        const float2 h2 = unpack_bf16(highs[tile]), l2 = unpack_bf16(lows[tile]);
        float x0 = sums[0][tile][2 * half], x1 = sums[0][tile][2 * half + 1];
        if constexpr (gated) {
          x0 *= fast_sigmoid(sums[1][tile][2 * half]);
          x1 *= fast_sigmoid(sums[1][tile][2 * half + 1]);
        }
        split(h2.x + l2.x + x0, h2.y + l2.y + x1, new_highs[tile], new_lows[tile]);
      }
      const std::int64_t to = p.y_view.index(r) * C + channel;
      *reinterpret_cast<uint4*>(p.y.high + to) = make_uint4(new_highs[0], new_highs[1], new_highs[2], new_highs[3]);
      *reinterpret_cast<uint4*>(p.y.low + to) = make_uint4(new_lows[0], new_lows[1], new_lows[2], new_lows[3]);
    }
  }
}

std::int64_t tap_bytes(const EncoderSizes& sizes) { return kTaps * sizes.channels * sizes.channels * 2; }
std::int64_t pointwise_bytes(const EncoderSizes& sizes) { return sizes.pointwise_channels() * sizes.channels * 2; }

template <int C, bool gated>
void launch_fused(const Fused& call, std::int64_t shared_bytes, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((call.rows + kRows<C> - 1) / kRows<C>);
  launch(encoder_layer_kernel<C, gated>, {dim3(blocks), dim3(kThreads<C>), static_cast<std::size_t>(shared_bytes)},
         stream, call);
}

template <int C>
void launch_fused(bool gated, const Fused& call, std::int64_t shared_bytes, cudaStream_t stream) {
  if (gated) return launch_fused<C, true>(call, shared_bytes, stream);
  launch_fused<C, false>(call, shared_bytes, stream);
}

}  // namespace

bool encoder_layer_fits(const EncoderSizes& sizes, std::int64_t shared_limit) {
  const std::int64_t c = sizes.channels;
  return (c == 32 || c == 64 || c == 128) && sizes.kernel_size == kTaps &&
         std::max(tap_bytes(sizes), pointwise_bytes(sizes)) <= shared_limit;
}

std::int64_t encoder_layer_bytes(const EncoderSizes& sizes) {
  return tap_bytes(sizes) + pointwise_bytes(sizes) + (sizes.channels + sizes.pointwise_channels()) * 4;
}

void pack_encoder_layer(const EncoderSizes& sizes, const EncoderWeights::Layer& layer, void* packed) {
  const std::int64_t channels = sizes.channels, slabs = channels / kSlab;
  auto* next = static_cast<bf16*>(packed);
  for (std::int64_t tap = 0; tap < kTaps; ++tap) {
    for (std::int64_t slab = 0; slab < slabs; ++slab) {
      for (std::int64_t tile = 0; tile < channels / 8; ++tile) {
        for (std::int64_t lane = 0; lane < kWarp; ++lane) {
          const std::int64_t output = 8 * tile + lane / 4;
          for (std::int64_t i = 0; i < 8; ++i) {
            const std::int64_t input = kSlab * slab + 8 * (lane % 4) + i;
            *next++ = as_operand<bf16>(layer.dilated.weight[(output * channels + input) * kTaps + tap]);
          }
        }
      }
    }
  }
  for (std::int64_t slab = 0; slab < slabs; ++slab) {  // of output channels
    for (std::int64_t part = 0; part < (sizes.gated ? 2 : 1); ++part) {
      for (std::int64_t tile = 0; tile < 4; ++tile) {
        for (std::int64_t inner = 0; inner < slabs; ++inner) {
          for (std::int64_t lane = 0; lane < kWarp; ++lane) {
            const std::int64_t column = lane / 4;
            const std::int64_t output = part * channels + kSlab * slab + 8 * (column / 2) + 2 * tile + column % 2;
            for (std::int64_t i = 0; i < 8; ++i) {
              const std::int64_t input = kSlab * inner + 8 * (i / 2) + 2 * (lane % 4) + i % 2;
              *next++ = as_operand<bf16>(layer.pointwise.weight[output * channels + input]);
            }
          }
        }
      }
    }
  }
  auto* biases = reinterpret_cast<float*>(next);
  std::copy_n(layer.dilated.bias, channels, biases);
  std::copy_n(layer.pointwise.bias, sizes.pointwise_channels(), biases + channels);
}

void launch_encoder_layer(const EncoderSizes& sizes, const EncoderLayerCall& call, std::int64_t shared_limit,
                          cudaStream_t stream) {
  const auto* weights = static_cast<const char*>(call.packed);
  const std::int64_t taps = tap_bytes(sizes), pointwise = pointwise_bytes(sizes);
  Fused fused;
  fused.x = call.x;
  fused.y = call.y;
  fused.x_view = call.x_view;
  fused.y_view = call.y_view;
  fused.rows = call.rows;
  fused.dilation = call.dilation;
  fused.weights = reinterpret_cast<const uint4*>(weights);
  fused.biases = reinterpret_cast<const float*>(weights + taps + pointwise);
  fused.in_place = taps + pointwise > shared_limit;
  const std::int64_t shared = fused.in_place ? std::max(taps, pointwise) : taps + pointwise;
  switch (sizes.channels) {
    case 32:
      return launch_fused<32>(sizes.gated, fused, shared, stream);
    case 64:
      return launch_fused<64>(sizes.gated, fused, shared, stream);
    case 128:
      return launch_fused<128>(sizes.gated, fused, shared, stream);
    default:
      throw std::logic_error("the fused encoder layer has 32, 64 or 128 channels");
  }
}

}  // namespace musicstar::cuda
