// Forward of one layer for any sizes and either storage, in plain multiply-adds: the path that the others are checked
// against, and the one for channel counts outside their table. Equations in musicstar/stacks.h.
//
// Each step is one product kernel over tiles of 64 rows x 64 channels (tile_general.cuh), 256 threads, 8.3 or 12.3 KiB
// of shared memory. A gate and its filter (a GLU's halves) are two parts of one tile, so that a thread has both.
// Bound: fp32 multiply-adds; 98,304 a row of a decoder layer with 128 channels, 0.75 ms for 256,000 rows at the 67
// TFLOP/s of an H200. The operands' way through shared memory is predicted to leave about half of that.
#include "cuda/launch.h"
#include "cuda/stack_paths.h"
#include "cuda/stack_weights.h"
#include "cuda/tile_general.cuh"

namespace musicstar::cuda {

namespace {

template <class T>
struct TapProduct {
  const T* x;        // [B][T][channels]
  const T* crossed;  // [K][channels][width]
  std::int64_t time, channels, width, taps;
  std::int64_t first_shift, step;  // tap k reads t + first_shift + k step

  template <int Parts>
  __device__ void add(float (&sums)[Parts][4][4], GeneralShared<Parts>& shared, const GeneralTile& tile,
                      std::int64_t columns) const {
    for (std::int64_t k = 0; k < taps; ++k) {
      add_product<Parts>(sums, shared, tile, x + tile.batch * time * channels, channels, time, first_shift + k * step,
                         crossed + k * channels * width, width, columns, columns, channels);
    }
  }
};

// z = sigmoid(h[0 .. R)) tanh(h[R .. 2R)), h = taps + condition.
// resources: registers <= 128, shared <= 13 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads, 2)
    gate_general_kernel(TapProduct<T> product, const float* condition, std::int64_t frames, std::int64_t pool, T* z) {
  MUSICSTAR_SHARED(GeneralShared<2>, shared, 1);
  const GeneralTile tile(product.time);
  const std::int64_t channels = product.channels;
  // Divided before the sums take the registers.
  std::int64_t frame_of[4];
  for (int r = 0; r < 4; ++r) frame_of[r] = tile.time_of(r) / pool;
  float h[2][4][4] = {};
  product.template add<2>(h, shared[0], tile, channels);
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= product.time) return;
    const float* frame = condition + (tile.batch * frames + frame_of[r]) * 2 * channels;
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= channels) break;
      const float gate = exact_sigmoid(h[0][r][c] + frame[n]);
      z[(tile.batch * product.time + t) * channels + n] =
          static_cast<T>(gate * tanhf(h[1][r][c] + frame[channels + n]));
    }
  }
}

// y = base + rows weights + bias, each of base and bias perhaps absent, base and y perhaps with tails; through ReLU
// where asked.
// resources: registers <= 96, shared <= 9 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    add_general_kernel(TapProduct<T> product, const T* base, GeneralTails tails, const float* bias, bool relu, T* y) {
  MUSICSTAR_SHARED(GeneralShared<1>, shared, 1);
  const GeneralTile tile(product.time);
  const std::int64_t columns = product.width;
  float sums[1][4][4] = {};
  product.template add<1>(sums, shared[0], tile, columns);
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= product.time) return;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= columns) break;
      const std::int64_t index = (tile.batch * product.time + t) * columns + n;
      float value = sums[0][r][c];
      if (bias != nullptr) value += bias[n];
      if (base != nullptr) value += tails.join(index, base[index]);
      y[index] = tails.split<T>(index, relu && value < 0.0f ? 0.0f : value);
    }
  }
}

// x_next = x + p[0 .. C) sigmoid(p[C .. 2C)), p = a pointwise + bias.
// resources: registers <= 128, shared <= 13 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    glu_general_kernel(TapProduct<T> product, const T* x, GeneralTails tails, const float* bias, T* x_next) {
  MUSICSTAR_SHARED(GeneralShared<2>, shared, 1);
  const GeneralTile tile(product.time);
  const std::int64_t channels = product.channels;
  float p[2][4][4] = {};
  product.template add<2>(p, shared[0], tile, channels);
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= product.time) return;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= channels) break;
      const std::int64_t index = (tile.batch * product.time + t) * channels + n;
      const float gate = exact_sigmoid(p[1][r][c] + bias[channels + n]);
      x_next[index] = tails.split<T>(index, tails.join(index, x[index]) + (p[0][r][c] + bias[n]) * gate);
    }
  }
}

// Layers of the skip sum: product.x is their z one after the other, product.crossed their skip weights.
// resources: registers <= 96, shared <= 9 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kGeneralThreads)
    skip_sum_general_kernel(TapProduct<T> product, std::int64_t batch, std::int64_t layers, bool continued,
                            float* running, T* sum) {
  MUSICSTAR_SHARED(GeneralShared<1>, shared, 1);
  const GeneralTile tile(product.time);
  const std::int64_t columns = product.width;
  float sums[1][4][4] = {};
  for (std::int64_t l = 0; l < layers; ++l) {
    product.template add<1>(sums, shared[0], tile, columns);
    product.x += batch * product.time * product.channels;
    product.crossed += product.channels * columns;
  }
  for (int r = 0; r < 4; ++r) {
    const std::int64_t t = tile.time_of(r);
    if (t >= product.time) return;
    for (int c = 0; c < 4; ++c) {
      const std::int64_t n = tile.column_of(c);
      if (n >= columns) break;
      const std::int64_t index = (tile.batch * product.time + t) * columns + n;
      const float value = sums[0][r][c] + (continued ? running[index] : 0.0f);
      if (sum != nullptr) {
        sum[index] = static_cast<T>(value);
      } else {
        running[index] = value;
      }
    }
  }
}

}  // namespace

namespace general {

template <class T>
void forward(const GatedResidualStackSizes& sizes, const void* packed, const GatedForwardCall<T>& call,
             cudaStream_t stream) {
  const GatedWeights<T> weights(sizes, packed);
  const std::int64_t channels = sizes.residual, taps = sizes.kernel_size, layer = call.layer;
  const LaunchShape shape{general_grid(sizes.batch, sizes.time, channels), dim3(kGeneralThreads)};
  const TapProduct<T> dilated{call.x,
                              weights.taps_crossed + layer * taps * channels * 2 * channels,
                              sizes.time,
                              channels,
                              2 * channels,
                              taps,
                              -sizes.delay(layer, 0),
                              sizes.dilations[layer]};
  launch(gate_general_kernel<T>, shape, stream, dilated, call.condition, sizes.frames, sizes.pool, call.z);
  if (call.x_next == nullptr) return;
  const TapProduct<T> residual{
      call.z, weights.residual_crossed + layer * channels * channels, sizes.time, channels, channels, 1, 0, 0};
  launch(add_general_kernel<T>, shape, stream, residual, call.x, general_tails(call),
         weights.residual_bias + layer * channels, false, call.x_next);
}

template <class T>
void skip_sum(const GatedResidualStackSizes& sizes, const void* packed, const SkipSumCall<T>& call,
              cudaStream_t stream) {
  const GatedWeights<T> weights(sizes, packed);
  const TapProduct<T> product{call.z,     weights.skip_crossed + call.first_layer * sizes.residual * sizes.skip,
                              sizes.time, sizes.residual,
                              sizes.skip, 1,
                              0,          0};
  launch(skip_sum_general_kernel<T>,
         LaunchShape{general_grid(sizes.batch, sizes.time, sizes.skip), dim3(kGeneralThreads)}, stream, product,
         sizes.batch, call.layers, call.first_layer > 0, call.running, call.sum);
}

template <class T>
void forward(const GluResidualStackSizes& sizes, const void* packed, const GluForwardCall<T>& call,
             cudaStream_t stream) {
  const GluWeights<T> weights(sizes, packed);
  const std::int64_t channels = sizes.channels, outputs = sizes.pointwise_channels(), layer = call.layer;
  const std::int64_t matrix = channels * channels;
  const LaunchShape shape{general_grid(sizes.batch, sizes.time, channels), dim3(kGeneralThreads)};
  const TapProduct<T> dilated{call.x,
                              weights.taps_crossed + layer * sizes.kernel_size * matrix,
                              sizes.time,
                              channels,
                              channels,
                              sizes.kernel_size,
                              sizes.offset(layer, 0),
                              sizes.dilations[layer]};
  launch(add_general_kernel<T>, shape, stream, dilated, nullptr, GeneralTails(),
         weights.dilated_bias + layer * channels, true, call.a);
  const TapProduct<T> pointwise{
      call.a, weights.pointwise_crossed + layer * channels * outputs, sizes.time, channels, outputs, 1, 0, 0};
  const float* bias = weights.pointwise_bias + layer * outputs;
  if (sizes.gated) {
    launch(glu_general_kernel<T>, shape, stream, pointwise, call.x, general_tails(call), bias, call.x_next);
  } else {
    launch(add_general_kernel<T>, shape, stream, pointwise, call.x, general_tails(call), bias, false, call.x_next);
  }
}

#define MUSICSTAR_GENERAL(T)                                                                                    \
  template void forward(const GatedResidualStackSizes&, const void*, const GatedForwardCall<T>&, cudaStream_t); \
  template void skip_sum(const GatedResidualStackSizes&, const void*, const SkipSumCall<T>&, cudaStream_t);     \
  template void forward(const GluResidualStackSizes&, const void*, const GluForwardCall<T>&, cudaStream_t);
MUSICSTAR_GENERAL(float)
MUSICSTAR_GENERAL(bf16)
#undef MUSICSTAR_GENERAL

}  // namespace general
}  // namespace musicstar::cuda
