// Data backward of one layer for any sizes and either storage, in plain multiply-adds (see stack_forward_general.cu).
//
//   gated:  dz = dx_next residual + dsum skip;  with s = sigmoid(h_gate), f = tanh(h_filter), h computed again
//           dh = (dz f s (1 - s), dz s (1 - f^2));      dcondition[frame] = sum of dh over the frame
//   GLU:    with s = sigmoid(p_gate): dp = (dx_next s, dx_next p_value s (1 - s));  da = dp pointwise;  du = da where a
//   > 0 both:   dx = dx_next + sum_k gradient[t + shift_k] taps[k]
//
// Tiles as in tile_general.cuh. Bound: fp32 multiply-adds, as in the forward (gate: 98,304 a row with 128 channels;
// input: 65,536).
#include "cuda/launch.h"
#include "cuda/stack_paths.h"
#include "cuda/stack_weights.h"
#include "cuda/tile_general.cuh"

namespace musicstar::cuda {

namespace {

// resources: registers <= 128, shared <= 21 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    gate_backward_general_kernel(GatedWeights<T> weights, GateBackwardCall<T> call, std::int64_t time,
                                 std::int64_t channels, std::int64_t skip, std::int64_t taps, std::int64_t dilation,
                                 std::int64_t frames, std::int64_t pool) {
  MUSICSTAR_SHARED(GeneralShared<2>, shared, 1);
  MUSICSTAR_SHARED(GeneralShared<1>, shared_one, 1);
  const GeneralTile tile(time);
  const std::int64_t first = tile.batch * time;
  float dz[1][4][4] = {};
  add_product<1>(dz, shared_one[0], tile, call.dsum + first * skip, skip, time, 0,
                 weights.skip_straight + call.layer * skip * channels, channels, 0, channels, skip);
  if (call.dx_next != nullptr) {
    add_product<1>(dz, shared_one[0], tile, call.dx_next + first * channels, channels, time, 0,
                   weights.residual_straight + call.layer * channels * channels, channels, 0, channels, channels);
  }
  float h[2][4][4] = {};
  for (std::int64_t k = 0; k < taps; ++k) {
    add_product<2>(h, shared[0], tile, call.x + first * channels, channels, time, -(taps - 1 - k) * dilation,
                   weights.taps_crossed + (call.layer * taps + k) * channels * 2 * channels, 2 * channels, channels,
                   channels, channels);
  }
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= time) return;
    const float* frame = call.condition + (tile.batch * frames + t / pool) * 2 * channels;
    T* dh = call.dh + (first + t) * 2 * channels;
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= channels) break;
      const float gate = exact_sigmoid(h[0][r][c] + frame[n]);
      const float filter = tanhf(h[1][r][c] + frame[channels + n]);
      dh[n] = static_cast<T>(dz[0][r][c] * filter * gate * (1.0f - gate));
      dh[channels + n] = static_cast<T>(dz[0][r][c] * gate * (1.0f - filter * filter));
    }
  }
}

// resources: registers <= 96, shared <= 9 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    input_backward_general_kernel(InputBackwardCall<T> call, GeneralTails tails) {
  MUSICSTAR_SHARED(GeneralShared<1>, shared, 1);
  const GeneralTile tile(call.time);
  const std::int64_t first = tile.batch * call.time;
  float sums[1][4][4] = {};
  for (std::int64_t k = 0; k < call.taps; ++k) {
    add_product<1>(sums, shared[0], tile, call.gradient + first * call.width, call.width, call.time,
                   call.first_shift - k * call.step, call.straight + k * call.width * call.channels, call.channels, 0,
                   call.channels, call.width);
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= call.time) return;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= call.channels) break;
      const std::int64_t index = (first + t) * call.channels + n;
      const float base = call.dx_next != nullptr ? tails.join(index, call.dx_next[index]) : 0.0f;
      call.dx[index] = tails.split<T>(index, base + sums[0][r][c]);
    }
  }
}

// a = ReLU(u), u = taps of x + bias.
// resources: registers <= 96, shared <= 9 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    relu_again_general_kernel(GluWeights<T> weights, GluBackwardCall<T> call, std::int64_t time, std::int64_t channels,
                              std::int64_t taps, std::int64_t dilation) {
  MUSICSTAR_SHARED(GeneralShared<1>, shared, 1);
  const GeneralTile tile(time);
  const std::int64_t first = tile.batch * time;
  float u[1][4][4] = {};
  for (std::int64_t k = 0; k < taps; ++k) {
    add_product<1>(u, shared[0], tile, call.x + first * channels, channels, time, (k - taps / 2) * dilation,
                   weights.taps_crossed + (call.layer * taps + k) * channels * channels, channels, 0, channels,
                   channels);
  }
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= time) return;
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= channels) break;
      const float value = u[0][r][c] + weights.dilated_bias[call.layer * channels + n];
      call.a[(first + t) * channels + n] = static_cast<T>(value > 0.0f ? value : 0.0f);
    }
  }
}

// dp from p = a pointwise + bias and dx_next.
// resources: registers <= 128, shared <= 13 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    glu_backward_general_kernel(GluWeights<T> weights, GluBackwardCall<T> call, std::int64_t time,
                                std::int64_t channels) {
  MUSICSTAR_SHARED(GeneralShared<2>, shared, 1);
  const GeneralTile tile(time);
  const std::int64_t first = tile.batch * time;
  const float* bias = weights.pointwise_bias + call.layer * 2 * channels;
  float p[2][4][4] = {};
  add_product<2>(p, shared[0], tile, static_cast<const T*>(call.a) + first * channels, channels, time, 0,
                 weights.pointwise_crossed + call.layer * channels * 2 * channels, 2 * channels, channels, channels,
                 channels);
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= time) return;
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= channels) break;
      const float gradient = static_cast<float>(call.dx_next[(first + t) * channels + n]);
      const float gate = exact_sigmoid(p[1][r][c] + bias[channels + n]);
      T* dp = call.dp + (first + t) * 2 * channels;
      dp[n] = static_cast<T>(gradient * gate);
      dp[channels + n] = static_cast<T>(gradient * (p[0][r][c] + bias[n]) * gate * (1.0f - gate));
    }
  }
}

// du = (dp pointwise) where a > 0.
// resources: registers <= 96, shared <= 9 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    relu_backward_general_kernel(const T* dp, std::int64_t outputs, const T* pointwise_straight, const T* a,
                                 std::int64_t time, std::int64_t channels, T* du) {
  MUSICSTAR_SHARED(GeneralShared<1>, shared, 1);
  const GeneralTile tile(time);
  const std::int64_t first = tile.batch * time;
  float da[1][4][4] = {};
  add_product<1>(da, shared[0], tile, dp + first * outputs, outputs, time, 0, pointwise_straight, channels, 0, channels,
                 outputs);
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= time) return;
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= channels) break;
      const std::int64_t index = (first + t) * channels + n;
      du[index] = static_cast<T>(static_cast<float>(a[index]) > 0.0f ? da[0][r][c] : 0.0f);
    }
  }
}

}  // namespace

namespace general {

template <class T>
void gate_backward(const GatedResidualStackSizes& sizes, const void* packed, const GateBackwardCall<T>& call,
                   cudaStream_t stream) {
  launch(gate_backward_general_kernel<T>,
         LaunchShape{general_grid(sizes.batch, sizes.time, sizes.residual), dim3(kGeneralThreads)}, stream,
         GatedWeights<T>(sizes, packed), call, sizes.time, sizes.residual, sizes.skip, sizes.kernel_size,
         sizes.dilations[call.layer], sizes.frames, sizes.pool);
}

template <class T>
void input_backward(const InputBackwardCall<T>& call, cudaStream_t stream) {
  launch(input_backward_general_kernel<T>,
         LaunchShape{general_grid(call.batch, call.time, call.channels), dim3(kGeneralThreads)}, stream, call,
         general_tails(call));
}

template <class T>
void pointwise_backward(const GluResidualStackSizes& sizes, const void* packed, const GluBackwardCall<T>& call,
                        cudaStream_t stream) {
  const GluWeights<T> weights(sizes, packed);
  const std::int64_t channels = sizes.channels, outputs = sizes.pointwise_channels();
  const LaunchShape shape{general_grid(sizes.batch, sizes.time, channels), dim3(kGeneralThreads)};
  launch(relu_again_general_kernel<T>, shape, stream, weights, call, sizes.time, channels, sizes.kernel_size,
         sizes.dilations[call.layer]);
  if (sizes.gated) launch(glu_backward_general_kernel<T>, shape, stream, weights, call, sizes.time, channels);
  launch(relu_backward_general_kernel<T>, shape, stream, sizes.gated ? call.dp : call.dx_next, outputs,
         weights.pointwise_straight + call.layer * outputs * channels, call.a, sizes.time, channels, call.du);
}

#define MUSICSTAR_GENERAL(T)                                                                                          \
  template void gate_backward(const GatedResidualStackSizes&, const void*, const GateBackwardCall<T>&, cudaStream_t); \
  template void input_backward(const InputBackwardCall<T>&, cudaStream_t);                                            \
  template void pointwise_backward(const GluResidualStackSizes&, const void*, const GluBackwardCall<T>&, cudaStream_t);
MUSICSTAR_GENERAL(float)
MUSICSTAR_GENERAL(bf16)
#undef MUSICSTAR_GENERAL

}  // namespace general

}  // namespace musicstar::cuda
