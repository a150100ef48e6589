// Where the encoder begins and ends: the first convolution, and codes from the last layer's rows. Both in fp32.
//
//   x_0[t][c] = b[c] + sum_k w[k][c] u[t + k - K/2],  u = code / 255 - 0.5        start_kernel: a thread an output
//   frame     = b + W mean over `pool` rows of x_L                               pool_kernel: a block a frame
//
// Averaging commutes with the 1x1 to the code, so rows are averaged first and a frame is projected once. A thread adds
// the rows of its channels one after the other in the order of time, and a frame that is not complete leaves its sums
// for the next call: so the bits do not depend on where a stream is cut. Each reads or writes the rows once: 4 C bytes
// a row, 17 MB for 32,768 rows of 128 channels, 4 us from L2 (predicted) where enough frames are at work at a time
// (`pool` below about a thousand; the shipped networks' 800 gives 41 blocks).
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/encoder_layers.h"
#include "cuda/launch.h"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;

template <class Rows>
struct Start {
  StartCall<Rows> call;
  std::int64_t channels, kernel_size;
};

// resources: registers <= 64, shared <= 0 bytes, threads 256
template <class Rows>
__global__ void __launch_bounds__(kThreads) encoder_start_kernel(const Start<Rows> p) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.call.rows * p.channels) return;
  const std::int64_t row = i / p.channels, channel = i % p.channels;
  float sum = p.call.bias[channel];
  for (std::int64_t k = 0; k < p.kernel_size; ++k) {
    const std::int64_t source = row + k - p.kernel_size / 2;
    if (!p.call.codes_view.holds(source)) continue;
    const float input = static_cast<float>(p.call.codes[p.call.codes_view.index(source)]) / 255.0f - 0.5f;
    sum = fmaf(p.call.weights[k * p.channels + channel], input, sum);
  }
  p.call.y.store(p.call.y_view.index(row) * p.channels + channel, sum);
}

template <class Rows>
struct Pool {
  PoolCall<Rows> call;
  std::int64_t channels, code_channels, pool;
};

// resources: registers <= 64, shared <= 0 bytes, threads 256
template <class Rows>
__global__ void __launch_bounds__(kThreads) encoder_pool_kernel(const Pool<Rows> p) {
  const auto frame = static_cast<std::int64_t>(blockIdx.x);
  // The rows of this frame that this call brings; before them are those that earlier calls summed.
  const std::int64_t first = frame * p.pool - p.call.in_frame;
  const std::int64_t begin = first > 0 ? first : 0;
  const std::int64_t end = first + p.pool < p.call.rows ? first + p.pool : p.call.rows;
  const bool whole = first + p.pool <= p.call.rows;
  float* const means = p.call.means + frame * p.channels;
  for (std::int64_t channel = threadIdx.x; channel < p.channels; channel += kThreads) {
    float sum = first < 0 ? p.call.sums_before[channel] : 0.0f;
#pragma unroll 8
    for (std::int64_t row = begin; row < end; ++row) {
      sum += p.call.x.load(p.call.x_view.index(row) * p.channels + channel);
    }
    if (whole) {
      means[channel] = sum / static_cast<float>(p.pool);
    } else {
      p.call.sums_after[channel] = sum;
    }
  }
  if (!whole) return;
  __syncthreads();  // the means of the other threads' channels
  for (std::int64_t output = threadIdx.x; output < p.code_channels; output += kThreads) {
    float sum = p.call.code_bias[output];
    for (std::int64_t channel = 0; channel < p.channels; ++channel) {
      sum = fmaf(p.call.code[channel * p.code_channels + output], means[channel], sum);
    }
    p.call.frames[frame * p.code_channels + output] = sum;
  }
}

}  // namespace

template <class Rows>
void launch_encoder_start(const EncoderSizes& sizes, const StartCall<Rows>& call, cudaStream_t stream) {
  const std::int64_t outputs = call.rows * sizes.channels;
  const auto blocks = static_cast<unsigned>((outputs + kThreads - 1) / kThreads);
  launch(encoder_start_kernel<Rows>, {dim3(blocks), dim3(kThreads)}, stream,
         Start<Rows>{call, sizes.channels, sizes.kernel_size});
}

template <class Rows>
void launch_encoder_pool(const EncoderSizes& sizes, const PoolCall<Rows>& call, cudaStream_t stream) {
  if (call.rows == 0) return;
  const auto frames = static_cast<unsigned>((call.in_frame + call.rows + sizes.pool - 1) / sizes.pool);
  launch(encoder_pool_kernel<Rows>, {dim3(frames), dim3(kThreads)}, stream,
         Pool<Rows>{call, sizes.channels, sizes.code_channels, sizes.pool});
}

template void launch_encoder_start(const EncoderSizes&, const StartCall<Fp32Rows>&, cudaStream_t);
template void launch_encoder_start(const EncoderSizes&, const StartCall<Bf16Rows>&, cudaStream_t);
template void launch_encoder_pool(const EncoderSizes&, const PoolCall<Fp32Rows>&, cudaStream_t);
template void launch_encoder_pool(const EncoderSizes&, const PoolCall<Bf16Rows>&, cudaStream_t);

}  // namespace musicstar::cuda
