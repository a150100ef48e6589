// The pointwise half of a GLU (or plain) layer's backward in bf16 on wgmma tensor cores (sm_90a), C in {64, 128}:
//
//   a = ReLU(taps of x + bias), computed again;  gated: p = pointwise a + bias, computed again, s = sigmoid(p_gate),
//   dp = (dx_next s, dx_next p_value s (1 - s));  plain: dp = dx_next;  da = pointwise^T dp;  du = da where a > 0
//
// Blocks, ring and consumers as in tile_wgmma.cuh: persistent, taps and pointwise resident (160 KiB at C = 128, K = 3).
// The same pointwise weights serve p, where they are K-major, and da, where their transposition is left to the
// descriptor (MN-major: its rows are what da sums over). a, dp and du pass from product to product in registers; they
// leave through the slots of the last tap and of dx_next, two at a time.
//
// Bytes at B = 16, T = 16,000, C = 128, gated: x, dx_next read, du, dp, a written: 393 MB = 82 us at 4.8 TB/s; 58.7
// GFLOP = 74 us at 790 TFLOP/s. Predicted, not measured: 110 us.
#include "cuda/stack_paths.h"
#include "cuda/stack_weights.h"
#include "cuda/tap_order.cuh"
#include "cuda/tile_wgmma.cuh"

namespace musicstar::cuda::wgmma {

namespace {

struct GluBackward {
  const float *dilated_bias, *pointwise_bias;
  std::int64_t batch;
  int time, kernel_size, dilation, slots;
};

template <int C, bool Gated>
__host__ __device__ constexpr std::int64_t backward_weight_bytes(std::int64_t kernel_size) {
  return (kernel_size + (Gated ? 2 : 1)) * C * C * 2;
}

#ifdef MUSICSTAR_SM90A

// d += rows [64][C] weights [C][C], rows as fragments, weights as `outputs` rows of which the C from `first` on are
// taken.
template <int C>
__device__ __forceinline__ void multiply_transposed(float (&d)[C / 2], const std::uint32_t (&rows)[C / 16][4],
                                                    const unsigned char* weights, int outputs, int first) {
#pragma unroll
  for (int k = 0; k < C / 16; ++k) {
    wgmma_bf16_registers<C, true>(d, rows[k], shared_descriptor(weights + (first + 16 * k) * 128, outputs * 128, 1024));
  }
}

// Fragments of the group's tile to a slot.
template <int C>
__device__ __forceinline__ void stage(const Consumer& me, const std::uint32_t (&rows)[C / 16][4], unsigned char* slot) {
#pragma unroll
  for (int k = 0; k < C / 16; ++k) stmatrix_x4(slot + me.fragment(k), rows[k]);
}

#endif

// resources: registers <= 168, shared <= 227 KiB, threads 384
template <int C, bool Gated>
__global__ void __launch_bounds__(kThreads, 1)
    glu_backward_wgmma_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap dx_next,
                              const __grid_constant__ CUtensorMap du_map, const __grid_constant__ CUtensorMap dp_map,
                              const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap taps,
                              const __grid_constant__ CUtensorMap pointwise, GluBackward call) {
#ifdef MUSICSTAR_SM90A
  constexpr int kTapBytes = C * C * 2, kOutputs = Gated ? 2 * C : C;
  const Ring<C> ring(static_cast<int>(backward_weight_bytes<C, Gated>(call.kernel_size)), call.slots);
  const Tiles tiles(blockIdx.x, gridDim.x, call.time, call.batch);
  ring.start();
  unsigned char* const pointwise_weights = ring.weights() + call.kernel_size * kTapBytes;
  const TapOrder order{call.kernel_size, call.kernel_size / 2};  // the forward's: a ReLU must fall to the same side
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
      ring.copy_rows(n++, &dx_next, 0, t0, batch);
    }
    return;
  }

  setmaxnreg_increase<kConsumerRegisters>();
  const Consumer me;
  ring.await_weights();
  for (unsigned q = me.group; tiles(q, batch, t0); q += kConsumers) {
    const unsigned first = q * (call.kernel_size + 1), last_tap = first + call.kernel_size - 1, dx_copy = last_tap + 1;
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
    unsigned char* const tap_slot = ring.slot(last_tap);
    unsigned char* const dx_slot = ring.slot(dx_copy);
    float da[C / 2] = {};
    if constexpr (Gated) {
      std::uint32_t dp_value[C / 16][4], dp_gate[C / 16][4];
      {
        float p[C] = {};
        keep_registers(p);
        wgmma_fence();
        multiply<C, 2 * C>(p, a, pointwise_weights, true);
        wgmma_commit();
        wgmma_wait<0>();
        keep_registers(p);
        ring.await(dx_copy);
#pragma unroll
        for (int k = 0; k < C / 16; ++k) {
          std::uint32_t dx[4];
          ldmatrix_x4(dx, dx_slot + me.fragment(k));
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int j = 2 * k + i / 2, value = 4 * j + i % 2 * 2, gate = 4 * (j + C / 8) + i % 2 * 2;
            const float* bias = call.pointwise_bias + me.column + 8 * j;
            const float2 value_bias = *reinterpret_cast<const float2*>(bias);
            const float2 gate_bias = *reinterpret_cast<const float2*>(bias + C);
            const float2 d = unpack_bf16(dx[i]);
            const float s0 = fast_sigmoid(p[gate] + gate_bias.x), s1 = fast_sigmoid(p[gate + 1] + gate_bias.y);
            dp_value[k][i] = pack_bf16(d.x * s0, d.y * s1);
            dp_gate[k][i] = pack_bf16(d.x * (p[value] + value_bias.x) * s0 * (1.0f - s0),
                                      d.y * (p[value + 1] + value_bias.y) * s1 * (1.0f - s1));
          }
        }
      }
      keep_registers(da);
      wgmma_fence();
      multiply_transposed<C>(da, dp_value, pointwise_weights, 2 * C, 0);
      multiply_transposed<C>(da, dp_gate, pointwise_weights, 2 * C, C);
      wgmma_commit();
      me.sync();  // everybody's products are done with the last tap
      stage<C>(me, dp_value, tap_slot);
      stage<C>(me, dp_gate, dx_slot);
      fence_proxy_async();
      me.sync();
      if (me.thread == 0) {
        store_slot<C>(&dp_map, 0, t0, batch, tap_slot);
        store_slot<C>(&dp_map, C, t0, batch, dx_slot);
      }
      wgmma_wait<0>();
      keep_registers(da);
      if (me.thread == 0) bulk_wait_read<0>();
    } else {
      ring.await(dx_copy);
      std::uint32_t dx[C / 16][4];
#pragma unroll
      for (int k = 0; k < C / 16; ++k) ldmatrix_x4(dx[k], dx_slot + me.fragment(k));
      keep_registers(da);
      wgmma_fence();
      multiply_transposed<C>(da, dx, pointwise_weights, C, 0);
      wgmma_commit();
      wgmma_wait<0>();
      keep_registers(da);
    }
    me.sync();  // both slots are free
    stage<C>(me, a, tap_slot);
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      std::uint32_t du[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 active = unpack_bf16(a[k][i]);
        const int sum = 4 * (2 * k + i / 2) + i % 2 * 2;
        du[i] = pack_bf16(active.x > 0.0f ? da[sum] : 0.0f, active.y > 0.0f ? da[sum + 1] : 0.0f);
      }
      stmatrix_x4(dx_slot + me.fragment(k), du);
    }
    fence_proxy_async();
    me.sync();
    if (me.thread == 0) {
      store_slot<C>(&a_map, 0, t0, batch, tap_slot);
      store_slot<C>(&du_map, 0, t0, batch, dx_slot);
      bulk_wait_read<0>();
    }
    ring.release(last_tap);
    ring.release(dx_copy);
  }
  if (me.thread == 0) bulk_wait<0>();
#else
  unavailable();
#endif
}

}  // namespace

void pointwise_backward(const GluResidualStackSizes& sizes, const void* packed, const GluBackwardCall<bf16>& call,
                        cudaStream_t stream) {
  const GluWeights<bf16> weights(sizes, packed);
  const std::int64_t channels = sizes.channels, outputs = sizes.pointwise_channels(), taps = sizes.kernel_size;
  const auto run = [&](auto constant, auto gated) {
    constexpr int C = decltype(constant)::value;
    constexpr bool Gated = decltype(gated)::value;
    const std::int64_t bytes = backward_weight_bytes<C, Gated>(taps);
    const GluBackward kernel_call{weights.dilated_bias + call.layer * channels,
                                  weights.pointwise_bias + call.layer * outputs,
                                  sizes.batch,
                                  static_cast<int>(sizes.time),
                                  static_cast<int>(taps),
                                  clamped_shift(sizes.dilations[call.layer], sizes.time),
                                  slots_beside<C>(bytes)};
    const CUtensorMap du = map_rows(call.du, sizes.batch, sizes.time, C);
    launch(glu_backward_wgmma_kernel<C, Gated>, resident_shape<C>(sizes.batch, sizes.time, bytes), stream,
           map_rows(call.x, sizes.batch, sizes.time, C), map_rows(call.dx_next, sizes.batch, sizes.time, C), du,
           Gated ? map_rows(call.dp, sizes.batch, sizes.time, 2 * C) : du, map_rows(call.a, sizes.batch, sizes.time, C),
           map_weights(weights.taps_straight + call.layer * taps * channels * channels, taps, C, C),
           map_weights(weights.pointwise_straight + call.layer * outputs * channels, 1, outputs, C), kernel_call);
  };
  const std::integral_constant<int, 64> narrow;
  const std::integral_constant<int, 128> wide;
  if (channels == 64) return sizes.gated ? run(narrow, std::true_type()) : run(narrow, std::false_type());
  if (channels == 128) return sizes.gated ? run(wide, std::true_type()) : run(wide, std::false_type());
  mma::pointwise_backward(sizes, packed, call, stream);
}

}  // namespace musicstar::cuda::wgmma
