// Forward of one layer in bf16 on wgmma tensor cores (sm_90a), R = S (or C) in {64, 128}, as far as its weights fit an
// SM. Equations, the order of the taps and why the skip sum is a product of its own: stack_forward_mma.cu.
//
// Blocks, ring and consumers as in tile_wgmma.cuh: persistent, the taps (and residual, or pointwise) resident: 160 KiB
// at C = 128 for the decoder's K = 2 and for the encoders' K = 3. A consumer's tile of 64 rows:
//   1. h (64 x 2C, 128 registers a thread) += tap by tap, each released to the copying warp as its product ends;
//   2. z = sigmoid tanh in registers, as fragments; x from the unshifted tile's slot to registers;
//   3. z through the unshifted tile's slot to memory (tensor store), while x_next = residual z (z from registers) is
//   summed, and the tails of x (stack_tails.cuh) come straight from memory to registers, C / 8 a thread;
//   4. x_next = x + sums + bias through the same slot to memory, its tails beside it; the slot is released.
//
// Bytes a layer at B = 16, T = 16,000, C = 128: 262 MB (x, z, x_next, tails both ways) = 55 us at 4.8 TB/s; 41.9 GFLOP
// = 53 us at 790 TFLOP/s; the skip sum 65.5 MB and 8.4 GFLOP a layer, 14 us of memory. Floor of both: 64 us of tensor
// cores, 68 us of memory. Predicted, not measured: a tile's products take 2,560 cycles of the tensor cores, its
// epilogue some 2,400 (two special functions a z at 16 a cycle: 1,024; seven integer instructions a tail at 64 a cycle:
// 900) and its loads and stores some 2,000; two consumers in turn need half of the sum, 3,480, 1.36 times the
// products: 72 us, and 18 us for the sum: 90 us a layer, 1.3 times the floor. GLU: 196 MB = 41 us, the same products;
// predicted 72 us.
#include "cuda/stack_paths.h"
#include "cuda/stack_tails.cuh"
#include "cuda/stack_weights.h"
#include "cuda/tap_order.cuh"
#include "cuda/tile_wgmma.cuh"

namespace musicstar::cuda::wgmma {

namespace {

struct GatedForward {
  const float *bias, *condition;
  const void* tails_before;
  void* tails_after;
  std::int64_t frames, batch;
  int time, kernel_size, dilation, pool, slots;
  bool has_next;
};

template <int C>
__host__ __device__ constexpr std::int64_t gated_weight_bytes(std::int64_t kernel_size) {
  return kernel_size * 2 * C * C * 2 + C * C * 2;
}

// resources: registers <= 168, shared <= 227 KiB, threads 384
template <int C>
__global__ void __launch_bounds__(kThreads, 1)
    gated_forward_wgmma_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap x_next,
                               const __grid_constant__ CUtensorMap z, const __grid_constant__ CUtensorMap taps,
                               const __grid_constant__ CUtensorMap residual, GatedForward call) {
#ifdef MUSICSTAR_SM90A
  constexpr int kTapBytes = 2 * C * C * 2;
  const Ring<C> ring(static_cast<int>(gated_weight_bytes<C>(call.kernel_size)), call.slots);
  const Tiles tiles(blockIdx.x, gridDim.x, call.time, call.batch);
  ring.start();
  unsigned char* const residual_weights = ring.weights() + call.kernel_size * kTapBytes;
  int batch, t0;

  if (threadIdx.x >= kConsumers * kGroupThreads) {
    setmaxnreg_decrease<kCopierRegisters>();
    if (threadIdx.x > kConsumers * kGroupThreads) return;
    ring.expect_weights();
    for (int k = 0; k < call.kernel_size; ++k) ring.copy_weights(&taps, 2 * C, 0, k, ring.weights() + k * kTapBytes);
    ring.copy_weights(&residual, C, 0, 0, residual_weights);
    unsigned n = 0;
    for (unsigned q = 0; tiles(q, batch, t0); ++q) {
      for (int k = 0; k < call.kernel_size; ++k) {
        ring.copy_rows(n++, &x, 0, t0 - (call.kernel_size - 1 - k) * call.dilation, batch);
      }
    }
    return;
  }

  setmaxnreg_increase<kConsumerRegisters>();
  const Consumer me;
  ring.await_weights();
  for (unsigned q = me.group; tiles(q, batch, t0); q += kConsumers) {
    const unsigned first = q * call.kernel_size, current = first + call.kernel_size - 1;
    float h[C] = {};
    for (int k = 0; k < call.kernel_size; ++k) {
      ring.await(first + k);
      keep_registers(h);
      wgmma_fence();
      multiply<C, 2 * C>(h, ring.slot(first + k), ring.weights() + k * kTapBytes, true);
      wgmma_commit();
      if (k > 0) {
        wgmma_wait<1>();
        ring.release(first + k - 1);
      }
    }
    wgmma_wait<0>();
    keep_registers(h);

    unsigned char* const slot = ring.slot(current);
    std::uint32_t x_pairs[C / 16][4], z_pairs[C / 16][4];
    const int last = call.time - 1 - t0;
    const int frame = (t0 + min(me.row, last)) / call.pool, frame_below = (t0 + min(me.row + 8, last)) / call.pool;
    const float* values = call.condition + (batch * call.frames + frame) * 2 * C + me.column;
    const float* values_below = call.condition + (batch * call.frames + frame_below) * 2 * C + me.column;
#pragma unroll
    for (int j = 0; j < C / 8; ++j) {
      const float2 gate = *reinterpret_cast<const float2*>(values + 8 * j);
      const float2 filter = *reinterpret_cast<const float2*>(values + C + 8 * j);
      float2 gate_below = gate, filter_below = filter;
      if (frame_below != frame) {
        gate_below = *reinterpret_cast<const float2*>(values_below + 8 * j);
        filter_below = *reinterpret_cast<const float2*>(values_below + C + 8 * j);
      }
      const int g = 4 * j, f = 4 * (j + C / 8);
      z_pairs[j / 2][j % 2 * 2] = pack_bf16(fast_sigmoid(h[g] + gate.x) * fast_tanh(h[f] + filter.x),
                                            fast_sigmoid(h[g + 1] + gate.y) * fast_tanh(h[f + 1] + filter.y));
      z_pairs[j / 2][j % 2 * 2 + 1] =
          pack_bf16(fast_sigmoid(h[g + 2] + gate_below.x) * fast_tanh(h[f + 2] + filter_below.x),
                    fast_sigmoid(h[g + 3] + gate_below.y) * fast_tanh(h[f + 3] + filter_below.y));
    }

#pragma unroll
    for (int k = 0; k < C / 16; ++k) ldmatrix_x4(x_pairs[k], slot + me.fragment(k));
    me.sync();  // everybody's products and fragments are done with the slot
#pragma unroll
    for (int k = 0; k < C / 16; ++k) stmatrix_x4(slot + me.fragment(k), z_pairs[k]);
    fence_proxy_async();
    me.sync();
    if (me.thread == 0) {
      store_slot<C>(&z, 0, t0, batch, slot);
    }
    if (call.has_next) {
      Tails<C> tails;
      tails.load(call.tails_before, tiles.number(q), me.thread, kGroupThreads);
      float sums[C / 2];
      keep_registers(sums);
      wgmma_fence();
      multiply<C, C>(sums, z_pairs, residual_weights, false);
      wgmma_commit();
      wgmma_wait<0>();
      keep_registers(sums);
      if (me.thread == 0) bulk_wait_read<0>();
      me.sync();  // z has left the slot
#pragma unroll
      for (int k = 0; k < C / 16; ++k) {
        std::uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int j = 2 * k + i / 2;
          const float2 bias = *reinterpret_cast<const float2*>(call.bias + me.column + 8 * j);
          const float2 before = tails.join(4 * k + i, x_pairs[k][i]);
          pairs[i] = tails.split(4 * k + i, before.x + sums[4 * j + i % 2 * 2] + bias.x,
                                 before.y + sums[4 * j + i % 2 * 2 + 1] + bias.y);
        }
        stmatrix_x4(slot + me.fragment(k), pairs);
      }
      tails.store(call.tails_after, tiles.number(q), me.thread, kGroupThreads);
      fence_proxy_async();
      me.sync();
      if (me.thread == 0) {
        store_slot<C>(&x_next, 0, t0, batch, slot);
      }
    }
    if (me.thread == 0) bulk_wait_read<0>();
    ring.release(current);
  }
  if (me.thread == 0) bulk_wait<0>();
#else
  unavailable();
#endif
}

struct GluForward {
  const float *dilated_bias, *pointwise_bias;
  const void* tails_before;
  void* tails_after;
  std::int64_t batch;
  int time, kernel_size, dilation, slots;
};

template <int C, bool Gated>
__host__ __device__ constexpr std::int64_t glu_weight_bytes(std::int64_t kernel_size) {
  return (kernel_size + (Gated ? 2 : 1)) * C * C * 2;
}

// resources: registers <= 168, shared <= 227 KiB, threads 384
template <int C, bool Gated>
__global__ void __launch_bounds__(kThreads, 1)
    glu_forward_wgmma_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap x_next,
                             const __grid_constant__ CUtensorMap taps, const __grid_constant__ CUtensorMap pointwise,
                             GluForward call) {
#ifdef MUSICSTAR_SM90A
  constexpr int kTapBytes = C * C * 2, kOutputs = Gated ? 2 * C : C;
  const Ring<C> ring(static_cast<int>(glu_weight_bytes<C, Gated>(call.kernel_size)), call.slots);
  const Tiles tiles(blockIdx.x, gridDim.x, call.time, call.batch);
  ring.start();
  unsigned char* const pointwise_weights = ring.weights() + call.kernel_size * kTapBytes;
  const TapOrder order{call.kernel_size, call.kernel_size / 2};
  int batch, t0;

  if (threadIdx.x >= kConsumers * kGroupThreads) {
    setmaxnreg_decrease<kCopierRegisters>();
    if (threadIdx.x > kConsumers * kGroupThreads) return;
    ring.expect_weights();
    for (int k = 0; k < call.kernel_size; ++k) ring.copy_weights(&taps, C, 0, order(k), ring.weights() + k * kTapBytes);
    ring.copy_weights(&pointwise, kOutputs, 0, 0, pointwise_weights);
    unsigned n = 0;
    for (unsigned q = 0; tiles(q, batch, t0); ++q) {
      for (int k = 0; k < call.kernel_size; ++k) {
        ring.copy_rows(n++, &x, 0, t0 + (order(k) - order.centre) * call.dilation, batch);
      }
    }
    return;
  }

  setmaxnreg_increase<kConsumerRegisters>();
  const Consumer me;
  ring.await_weights();
  for (unsigned q = me.group; tiles(q, batch, t0); q += kConsumers) {
    const unsigned first = q * call.kernel_size, current = first + call.kernel_size - 1;
    std::uint32_t a[C / 16][4];
    {
      float u[C / 2] = {};
      for (int k = 0; k < call.kernel_size; ++k) {
        ring.await(first + k);
        keep_registers(u);
        wgmma_fence();
        multiply<C, C>(u, ring.slot(first + k), ring.weights() + k * kTapBytes, true);
        wgmma_commit();
        if (k > 0) {
          wgmma_wait<1>();
          ring.release(first + k - 1);
        }
      }
      wgmma_wait<0>();
      keep_registers(u);
#pragma unroll
      for (int j = 0; j < C / 8; ++j) {
        const float2 bias = *reinterpret_cast<const float2*>(call.dilated_bias + me.column + 8 * j);
        a[j / 2][j % 2 * 2] = pack_bf16(fmaxf(u[4 * j] + bias.x, 0.0f), fmaxf(u[4 * j + 1] + bias.y, 0.0f));
        a[j / 2][j % 2 * 2 + 1] = pack_bf16(fmaxf(u[4 * j + 2] + bias.x, 0.0f), fmaxf(u[4 * j + 3] + bias.y, 0.0f));
      }
    }
    Tails<C> tails;
    tails.load(call.tails_before, tiles.number(q), me.thread, kGroupThreads);
    float p[kOutputs / 2] = {};
    keep_registers(p);
    wgmma_fence();
    multiply<C, kOutputs>(p, a, pointwise_weights, true);
    wgmma_commit();
    wgmma_wait<0>();
    keep_registers(p);
    me.sync();  // everybody's products are done with the slot
    unsigned char* const slot = ring.slot(current);
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      std::uint32_t pairs[4];
      ldmatrix_x4(pairs, slot + me.fragment(k));
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const int j = 2 * k + part;
        const float* bias = call.pointwise_bias + me.column + 8 * j;
        const float2 value_bias = *reinterpret_cast<const float2*>(bias);
        float2 gate_bias = make_float2(0.0f, 0.0f);
        if constexpr (Gated) gate_bias = *reinterpret_cast<const float2*>(bias + C);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int number = 4 * k + 2 * part + half;
          const float2 before = tails.join(number, pairs[2 * part + half]);
          float y0 = p[4 * j + 2 * half] + value_bias.x, y1 = p[4 * j + 2 * half + 1] + value_bias.y;
          if constexpr (Gated) {
            y0 *= fast_sigmoid(p[2 * C / 4 + 4 * j + 2 * half] + gate_bias.x);
            y1 *= fast_sigmoid(p[2 * C / 4 + 4 * j + 2 * half + 1] + gate_bias.y);
          }
          pairs[2 * part + half] = tails.split(number, before.x + y0, before.y + y1);
        }
      }
      stmatrix_x4(slot + me.fragment(k), pairs);
    }
    tails.store(call.tails_after, tiles.number(q), me.thread, kGroupThreads);
    fence_proxy_async();
    me.sync();
    if (me.thread == 0) {
      store_slot<C>(&x_next, 0, t0, batch, slot);
      bulk_wait_read<0>();
    }
    ring.release(current);
  }
  if (me.thread == 0) bulk_wait<0>();
#else
  unavailable();
#endif
}

}  // namespace

void forward(const GatedResidualStackSizes& sizes, const void* packed, const GatedForwardCall<bf16>& call,
             cudaStream_t stream) {
  const GatedWeights<bf16> weights(sizes, packed);
  const std::int64_t channels = sizes.residual, matrix = channels * channels, taps = sizes.kernel_size;
  const auto run = [&](auto constant) {
    constexpr int C = decltype(constant)::value;
    const std::int64_t bytes = gated_weight_bytes<C>(taps);
    const CUtensorMap x = map_rows(call.x, sizes.batch, sizes.time, C);
    const CUtensorMap z = map_rows(call.z, sizes.batch, sizes.time, C);
    const GatedForward kernel_call{weights.residual_bias + call.layer * channels,
                                   call.condition,
                                   call.tails_before,
                                   call.tails_after,
                                   sizes.frames,
                                   sizes.batch,
                                   static_cast<int>(sizes.time),
                                   static_cast<int>(taps),
                                   clamped_shift(sizes.dilations[call.layer], sizes.time),
                                   static_cast<int>(sizes.pool < sizes.time ? sizes.pool : sizes.time),
                                   slots_beside<C>(bytes),
                                   call.x_next != nullptr};
    launch(gated_forward_wgmma_kernel<C>, resident_shape<C>(sizes.batch, sizes.time, bytes), stream, x,
           call.x_next != nullptr ? map_rows(call.x_next, sizes.batch, sizes.time, C) : z, z,
           map_weights(weights.taps_straight + call.layer * taps * 2 * matrix, taps, 2 * C, C),
           map_weights(weights.residual_straight + call.layer * matrix, 1, C, C), kernel_call);
  };
  if (channels == 64) return run(std::integral_constant<int, 64>());
  if (channels == 128 && slots_beside<128>(gated_weight_bytes<128>(taps)) >= taps) {
    return run(std::integral_constant<int, 128>());
  }
  mma::forward(sizes, packed, call, stream);
}

void forward(const GluResidualStackSizes& sizes, const void* packed, const GluForwardCall<bf16>& call,
             cudaStream_t stream) {
  const GluWeights<bf16> weights(sizes, packed);
  const std::int64_t channels = sizes.channels, outputs = sizes.pointwise_channels(), taps = sizes.kernel_size;
  const auto run = [&](auto constant, auto gated) {
    constexpr int C = decltype(constant)::value;
    constexpr bool Gated = decltype(gated)::value;
    const std::int64_t bytes = glu_weight_bytes<C, Gated>(taps);
    const GluForward kernel_call{weights.dilated_bias + call.layer * channels,
                                 weights.pointwise_bias + call.layer * outputs,
                                 call.tails_before,
                                 call.tails_after,
                                 sizes.batch,
                                 static_cast<int>(sizes.time),
                                 static_cast<int>(taps),
                                 clamped_shift(sizes.dilations[call.layer], sizes.time),
                                 slots_beside<C>(bytes)};
    launch(glu_forward_wgmma_kernel<C, Gated>, resident_shape<C>(sizes.batch, sizes.time, bytes), stream,
           map_rows(call.x, sizes.batch, sizes.time, C), map_rows(call.x_next, sizes.batch, sizes.time, C),
           map_weights(weights.taps_straight + call.layer * taps * channels * channels, taps, C, C),
           map_weights(weights.pointwise_straight + call.layer * outputs * channels, 1, outputs, C), kernel_call);
  };
  const std::integral_constant<int, 64> narrow;
  const std::integral_constant<int, 128> wide;
  if (channels == 64) return sizes.gated ? run(narrow, std::true_type()) : run(narrow, std::false_type());
  if (channels == 128) return sizes.gated ? run(wide, std::true_type()) : run(wide, std::false_type());
  mma::forward(sizes, packed, call, stream);
}

}  // namespace musicstar::cuda::wgmma
