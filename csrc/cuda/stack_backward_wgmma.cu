// dx of one layer in bf16 on wgmma tensor cores (sm_90a), C in {64, 128}, as far as the taps fit an SM:
//
//   dx = dx_next + sum_k taps_k^T gradient[t + shift_k]
//
// Blocks, ring and consumers as in tile_wgmma.cuh: persistent, all taps resident (C = 128: 128 KiB for the decoder's K
// = 2, whose gradient dh has 2C channels, 96 KiB for the encoders' K = 3). A consumer's tile of 64 rows: sums (64 x C,
// 64 registers a thread) += one product for each tap and C channels of the gradient, each slot released as its product
// ends; dx_next arrives as one more copy, becomes dx in its slot and leaves by a tensor store; the tails of both
// (stack_tails.cuh) go straight between memory and registers, asked for before the products.
//
// Bytes a layer at B = 16, T = 16,000, C = 128, decoder: dh and dx_next read, dx written, tails both ways: 328 MB = 68
// us at 4.8 TB/s; 33.5 GFLOP = 42 us at 790 TFLOP/s. Predicted, not measured: 85 us, the memory's bound at 80 %.
#include "cuda/stack_paths.h"
#include "cuda/stack_tails.cuh"
#include "cuda/tile_wgmma.cuh"

namespace musicstar::cuda::wgmma {

namespace {

struct InputBackward {
  const void* tails_before;
  void* tails_after;
  std::int64_t batch;
  int time, taps, parts;  // parts: of the gradient's channels, C each
  int first_shift, step, slots;
  bool has_base;
};

template <int C>
__host__ __device__ constexpr std::int64_t input_weight_bytes(std::int64_t taps, std::int64_t width) {
  return taps * width * C * 2;
}

// resources: registers <= 168, shared <= 227 KiB, threads 384
template <int C>
__global__ void __launch_bounds__(kThreads, 1)
    input_backward_wgmma_kernel(const __grid_constant__ CUtensorMap gradient, const __grid_constant__ CUtensorMap base,
                                const __grid_constant__ CUtensorMap dx, const __grid_constant__ CUtensorMap crossed,
                                InputBackward call) {
#ifdef MUSICSTAR_SM90A
  constexpr int kPartBytes = C * C * 2;
  const int steps = call.taps * call.parts;
  const Ring<C> ring(steps * kPartBytes, call.slots);
  const Tiles tiles(blockIdx.x, gridDim.x, call.time, call.batch);
  ring.start();
  const unsigned copies = steps + call.has_base;
  int batch, t0;

  if (threadIdx.x >= kConsumers * kGroupThreads) {
    setmaxnreg_decrease<kCopierRegisters>();
    if (threadIdx.x > kConsumers * kGroupThreads) return;
    ring.expect_weights();
    for (int s = 0; s < steps; ++s) {
      ring.copy_weights(&crossed, C, s % call.parts * C, s / call.parts, ring.weights() + s * kPartBytes);
    }
    unsigned n = 0;
    for (unsigned q = 0; tiles(q, batch, t0); ++q) {
      for (int k = 0; k < call.taps; ++k) {
        const int t = t0 + call.first_shift - k * call.step;
        for (int part = 0; part < call.parts; ++part) ring.copy_rows(n++, &gradient, part * C, t, batch);
      }
      if (call.has_base) ring.copy_rows(n++, &base, 0, t0, batch);
    }
    return;
  }

  setmaxnreg_increase<kConsumerRegisters>();
  const Consumer me;
  ring.await_weights();
  for (unsigned q = me.group; tiles(q, batch, t0); q += kConsumers) {
    const unsigned first = q * copies, staged = first + copies - 1;  // dx leaves from the last copy's slot
    Tails<C> tails;
    tails.load(call.tails_before, tiles.number(q), me.thread, kGroupThreads);
    float sums[C / 2] = {};
    for (int s = 0; s < steps; ++s) {
      ring.await(first + s);
      keep_registers(sums);
      wgmma_fence();
      multiply<C, C>(sums, ring.slot(first + s), ring.weights() + s * kPartBytes, true);
      wgmma_commit();
      if (s > 0) {
        wgmma_wait<1>();
        ring.release(first + s - 1);
      }
    }
    wgmma_wait<0>();
    keep_registers(sums);
    if (call.has_base) {
      ring.release(first + steps - 1);
      ring.await(staged);
    } else {
      me.sync();  // everybody's products are done with the slot
    }
    unsigned char* const slot = ring.slot(staged);
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      std::uint32_t pairs[4] = {0, 0, 0, 0};
      if (call.has_base) ldmatrix_x4(pairs, slot + me.fragment(k));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 before = tails.join(4 * k + i, pairs[i]);
        const int j = 4 * (2 * k + i / 2) + i % 2 * 2;
        pairs[i] = tails.split(4 * k + i, before.x + sums[j], before.y + sums[j + 1]);
      }
      stmatrix_x4(slot + me.fragment(k), pairs);
    }
    tails.store(call.tails_after, tiles.number(q), me.thread, kGroupThreads);
    fence_proxy_async();
    me.sync();
    if (me.thread == 0) {
      store_slot<C>(&dx, 0, t0, batch, slot);
      bulk_wait_read<0>();
    }
    ring.release(staged);
  }
  if (me.thread == 0) bulk_wait<0>();
#else
  unavailable();
#endif
}

}  // namespace

void input_backward(const InputBackwardCall<bf16>& call, cudaStream_t stream) {
  const auto run = [&](auto constant) {
    constexpr int C = decltype(constant)::value;
    const std::int64_t bytes = input_weight_bytes<C>(call.taps, call.width);
    // The unshifted tap stays that: the first shift is so many steps, however long a step is.
    const int step = clamped_shift(call.step, call.time);
    const InputBackward kernel_call{call.tails_before,
                                    call.tails_after,
                                    call.batch,
                                    static_cast<int>(call.time),
                                    static_cast<int>(call.taps),
                                    static_cast<int>(call.width / C),
                                    static_cast<int>(call.first_shift / call.step) * step,
                                    step,
                                    slots_beside<C>(bytes),
                                    call.dx_next != nullptr};
    const CUtensorMap dx = map_rows(call.dx, call.batch, call.time, C);
    launch(input_backward_wgmma_kernel<C>, resident_shape<C>(call.batch, call.time, bytes), stream,
           map_rows(call.gradient, call.batch, call.time, call.width),
           call.dx_next != nullptr ? map_rows(call.dx_next, call.batch, call.time, C) : dx, dx,
           map_weights(call.crossed, call.taps, C, call.width), kernel_call);
  };
  if (call.channels == 64) return run(std::integral_constant<int, 64>());
  if (call.channels == 128 &&
      slots_beside<128>(input_weight_bytes<128>(call.taps, call.width)) > call.taps * (call.width / 128)) {
    return run(std::integral_constant<int, 128>());
  }
  mma::input_backward(call, stream);
}

}  // namespace musicstar::cuda::wgmma
