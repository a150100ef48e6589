// dh of one gated layer in bf16 on wgmma tensor cores (sm_90a), R = S in {64, 128}, as far as the weights fit:
//
//   dz = skip^T dsum + residual^T dx_next;  h computed again;  with s = sigmoid(h_gate), f = tanh(h_filter)
//   dh = (dz f s (1 - s), dz s (1 - f^2));  the sums of dh over strips of 16 rows for the condition's gradient
//
// The weights of all four products (192 KiB at C = 128, K = 2) leave no room for rows beside them on one SM, and
// streaming them would double what comes from L2. So three SMs share them, a cluster of three blocks: block 0 holds
// residual and skip (64 KiB) and makes dz for the other two, which hold the taps (128 KiB) and make dh. dz is half the
// multiply-adds of h, so that one block of the first kind keeps two of the second busy, and every row is read once.
//
// Blocks, rings and consumers as in tile_wgmma.cuh. Consumer group g of block 0 works for block 1 + g: its tile of dz
// (bf16, as it lies in a slot) is copied from shared memory to shared memory, into the last copy of the receiver's
// tile:
//   receiver's copier   slot of dz free, its bytes announced         -> arrives at block 0's grant
//   block 0, group g    dz written to its own slot, the grant awaited -> bulk copy to the receiver's slot, whose
//   mbarrier counts receiver, 4 warps   dz has landed                                -> release block 0's slot (remote
//   arrivals)
// The receiver's group then turns the slots of its last tap and of dz into the halves of dh, which leave by tensor
// stores. Nobody leaves the kernel before the cluster's last barrier, as others may still reach into its shared memory.
//
// Bytes at B = 16, T = 16,000, C = 128: x, dx_next, dsum read, dh written: 327 MB = 68 us at 4.8 TB/s; 50.3 GFLOP = 64
// us at 790 TFLOP/s. Predicted, not measured: 90 us (132 SMs are 42 to 44 clusters, depending on how they are laid
// out).
#include <algorithm>

#include "cuda/frame_sums.cuh"
#include "cuda/stack_paths.h"
#include "cuda/stack_weights.h"
#include "cuda/tile_wgmma.cuh"

namespace musicstar::cuda::wgmma {

namespace {

constexpr int kClusterBlocks = 3;

struct GateBackward {
  const float* condition;
  float* strips;
  std::int64_t batch, frames, sequence_strips;
  int time, kernel_size, dilation, pool;
  int dz_weight_bytes, dz_slots, h_weight_bytes, h_slots;
  bool has_next;
};

#ifdef MUSICSTAR_SM90A

// The tiles of receiver g (of block 1 + g) of this cluster.
__device__ Tiles tiles_of(int g, const GateBackward& call) {
  const std::int64_t cluster = blockIdx.x / kClusterBlocks, clusters = gridDim.x / kClusterBlocks;
  return Tiles(2 * cluster + g, 2 * clusters, call.time, call.batch);
}

// Block 0's copier.
template <int C>
__device__ void copy_for_dz(const Ring<C>& ring, const CUtensorMap* dsum, const CUtensorMap* dx_next,
                            const CUtensorMap* skip, const CUtensorMap* residual, const GateBackward& call) {
  ring.expect_weights();
  ring.copy_weights(skip, C, 0, 0, ring.weights());
  if (call.has_next) ring.copy_weights(residual, C, 0, 0, ring.weights() + C * C * 2);
  // The receivers in turn; only the second can be without a last tile.
  int batch, t0;
  unsigned n = 0;
  for (unsigned s = 0; tiles_of(s % 2, call)(s / 2, batch, t0); ++s) {
    ring.copy_rows(n++, dsum, 0, t0, batch);
    if (call.has_next) ring.copy_rows(n++, dx_next, 0, t0, batch);
  }
}

// Block 0's group g makes dz for block 1 + g.
template <int C>
__device__ void make_dz(const Ring<C>& ring, const Ring<C>& receiver, const Consumer& me, const GateBackward& call) {
  const Tiles tiles = tiles_of(me.group, call);
  const unsigned copies = 1 + call.has_next;
  int batch, t0;
  ring.await_weights();
  for (unsigned q = 0; tiles(q, batch, t0); ++q) {
    const unsigned first = (2 * q + me.group) * copies, staged = first + copies - 1;
    float dz[C / 2] = {};
    for (unsigned s = 0; s < copies; ++s) {
      ring.await(first + s);
      keep_registers(dz);
      wgmma_fence();
      multiply<C, C>(dz, ring.slot(first + s), ring.weights() + s * (C * C * 2), true);
      wgmma_commit();
      if (s > 0) {
        wgmma_wait<1>();
        ring.release(first);
      }
    }
    wgmma_wait<0>();
    keep_registers(dz);
    me.sync();  // everybody's products are done with the slot
    unsigned char* const slot = ring.slot(staged);
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      const float* sums = &dz[8 * k];
      const std::uint32_t pairs[4] = {pack_bf16(sums[0], sums[1]), pack_bf16(sums[2], sums[3]),
                                      pack_bf16(sums[4], sums[5]), pack_bf16(sums[6], sums[7])};
      stmatrix_x4(slot + me.fragment(k), pairs);
    }
    fence_proxy_async();
    me.sync();
    if (me.thread == 0) {
      const unsigned copy = q * (call.kernel_size + 1) + call.kernel_size, block = 1 + me.group;
      mbarrier_wait_cluster(ring.grant(me.group, q), q / kMaxSlots & 1);
      bulk_copy_remote(remote_address(receiver.slot(copy), block), slot, slot_bytes<C>(),
                       remote_address(receiver.full(copy), block));
    }
    __syncwarp();
  }
}

// The copier of block 1 + g.
template <int C>
__device__ void copy_for_dh(const Ring<C>& ring, const Ring<C>& maker, int g, const CUtensorMap* x,
                            const CUtensorMap* taps, const GateBackward& call) {
  ring.expect_weights();
  for (int k = 0; k < call.kernel_size; ++k) {
    ring.copy_weights(taps, 2 * C, 0, k, ring.weights() + k * (2 * C * C * 2));
  }
  const Tiles tiles = tiles_of(g, call);
  int batch, t0;
  unsigned n = 0;
  for (unsigned q = 0; tiles(q, batch, t0); ++q) {
    for (int k = 0; k < call.kernel_size; ++k) {
      ring.copy_rows(n++, x, 0, t0 - (call.kernel_size - 1 - k) * call.dilation, batch);
    }
    ring.expect_rows(n);
    mbarrier_arrive_remote(remote_address(maker.grant(g, q), 0));
    ++n;
  }
}

// The groups of block 1 + g make dh.
template <int C>
__device__ void make_dh(const Ring<C>& ring, const Ring<C>& maker, int g, const Consumer& me, const CUtensorMap* dh_map,
                        const GateBackward& call) {
  const Tiles tiles = tiles_of(g, call);
  int batch, t0;
  ring.await_weights();
  for (unsigned q = me.group; tiles(q, batch, t0); q += kConsumers) {
    const unsigned first = q * (call.kernel_size + 1), last_tap = first + call.kernel_size - 1, dz_copy = last_tap + 1;
    float h[C] = {};
    for (int k = 0; k < call.kernel_size; ++k) {
      ring.await(first + k);
      keep_registers(h);
      wgmma_fence();
      multiply<C, 2 * C>(h, ring.slot(first + k), ring.weights() + k * (2 * C * C * 2), true);
      wgmma_commit();
      if (k > 0) {
        wgmma_wait<1>();
        ring.release(first + k - 1);
      }
    }
    wgmma_wait<0>();
    keep_registers(h);
    me.sync();  // everybody's products are done with the slot of the last tap
    ring.await_remote(dz_copy);
    if (me.lane == 0) {  // block 0 may use the slot that dz came from again
      mbarrier_arrive_remote(remote_address(maker.empty((2 * q + g) * (1 + call.has_next) + call.has_next), 0));
    }
    __syncwarp();

    unsigned char* const gate_slot = ring.slot(last_tap);
    unsigned char* const filter_slot = ring.slot(dz_copy);
    const int last = call.time - 1 - t0;
    const int frame = (t0 + min(me.row, last)) / call.pool, frame_below = (t0 + min(me.row + 8, last)) / call.pool;
    const float* values = call.condition + (batch * call.frames + frame) * 2 * C + me.column;
    const float* values_below = call.condition + (batch * call.frames + frame_below) * 2 * C + me.column;
    const StripSums<C> strips(call.strips == nullptr ? nullptr : call.strips + batch * call.sequence_strips * 4 * C,
                              t0 + 16 * me.warp, call.pool);
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      std::uint32_t dz[4], gate_pairs[4], filter_pairs[4];
      ldmatrix_x4(dz, filter_slot + me.fragment(k));
      float dh[2][2][4];  // [half][column pair][gate, gate, filter, filter]
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int half = i % 2, j = 2 * k + i / 2;
        const float* condition = (half == 0 ? values : values_below) + 8 * j;
        const float2 gate_condition = *reinterpret_cast<const float2*>(condition);
        const float2 filter_condition = *reinterpret_cast<const float2*>(condition + C);
        const int gate = 4 * j + 2 * half, filter = 4 * (j + C / 8) + 2 * half;
        const float2 d = unpack_bf16(dz[i]);
        const float s0 = fast_sigmoid(h[gate] + gate_condition.x), s1 = fast_sigmoid(h[gate + 1] + gate_condition.y);
        const float f0 = fast_tanh(h[filter] + filter_condition.x), f1 = fast_tanh(h[filter + 1] + filter_condition.y);
        float (&here)[4] = dh[half][i / 2];
        here[0] = d.x * f0 * s0 * (1.0f - s0);
        here[1] = d.y * f1 * s1 * (1.0f - s1);
        here[2] = d.x * s0 * (1.0f - f0 * f0);
        here[3] = d.y * s1 * (1.0f - f1 * f1);
        gate_pairs[i] = pack_bf16(here[0], here[1]);
        filter_pairs[i] = pack_bf16(here[2], here[3]);
      }
      stmatrix_x4(gate_slot + me.fragment(k), gate_pairs);
      stmatrix_x4(filter_slot + me.fragment(k), filter_pairs);
      strips.add(16 * k, dh[0], dh[1]);
    }
    fence_proxy_async();
    me.sync();
    if (me.thread == 0) {
      store_slot<C>(dh_map, 0, t0, batch, gate_slot);
      store_slot<C>(dh_map, C, t0, batch, filter_slot);
      bulk_wait_read<0>();
    }
    ring.release(last_tap);
    ring.release(dz_copy);
  }
  if (me.thread == 0) bulk_wait<0>();
}

#endif

// resources: registers <= 168, shared <= 227 KiB, threads 384
template <int C>
__global__ void __launch_bounds__(kThreads, 1)
    gate_backward_wgmma_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap dx_next,
                               const __grid_constant__ CUtensorMap dsum, const __grid_constant__ CUtensorMap dh,
                               const __grid_constant__ CUtensorMap taps, const __grid_constant__ CUtensorMap residual,
                               const __grid_constant__ CUtensorMap skip, GateBackward call) {
#ifdef MUSICSTAR_SM90A
  const int block = static_cast<int>(cluster_rank());
  const Ring<C> dz_ring(call.dz_weight_bytes, call.dz_slots), h_ring(call.h_weight_bytes, call.h_slots);
  if (block == 0) {
    dz_ring.start();
  } else {
    h_ring.start();
  }
  cluster_sync();
  if (threadIdx.x >= kConsumers * kGroupThreads) {
    setmaxnreg_decrease<kCopierRegisters>();
    if (threadIdx.x == kConsumers * kGroupThreads) {
      if (block == 0) {
        copy_for_dz(dz_ring, &dsum, &dx_next, &skip, &residual, call);
      } else {
        copy_for_dh(h_ring, dz_ring, block - 1, &x, &taps, call);
      }
    }
    __syncwarp();
  } else {
    setmaxnreg_increase<kConsumerRegisters>();
    const Consumer me;
    if (block == 0) {
      make_dz(dz_ring, h_ring, me, call);
    } else {
      make_dh(h_ring, dz_ring, block - 1, me, &dh, call);
    }
  }
  cluster_sync();
#else
  unavailable();
#endif
}

// As many clusters as there are pairs of tiles, at most a third of the SMs.
LaunchShape cluster_shape(std::int64_t batch, std::int64_t time, std::size_t shared_bytes) {
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "asking for the current GPU");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking how many SMs there are");
  const std::int64_t pairs = (batch * ((time + kRows - 1) / kRows) + 1) / 2;
  const std::int64_t most = multiprocessors < kClusterBlocks ? 1 : multiprocessors / kClusterBlocks;
  return {dim3(static_cast<unsigned>((pairs < most ? pairs : most) * kClusterBlocks)), dim3(kThreads), shared_bytes,
          dim3(kClusterBlocks)};
}

}  // namespace

void gate_backward(const GatedResidualStackSizes& sizes, const void* packed, const GateBackwardCall<bf16>& call,
                   cudaStream_t stream) {
  const GatedWeights<bf16> weights(sizes, packed);
  const std::int64_t channels = sizes.residual, matrix = channels * channels, taps = sizes.kernel_size;
  const auto run = [&](auto constant) {
    constexpr int C = decltype(constant)::value;
    const bool has_next = call.dx_next != nullptr;
    GateBackward kernel_call;
    kernel_call.condition = call.condition;
    kernel_call.strips = call.strips;
    kernel_call.batch = sizes.batch;
    kernel_call.frames = sizes.frames;
    kernel_call.sequence_strips = strips_of_sequence(sizes);
    kernel_call.time = static_cast<int>(sizes.time);
    kernel_call.kernel_size = static_cast<int>(taps);
    kernel_call.dilation = clamped_shift(sizes.dilations[call.layer], sizes.time);
    kernel_call.pool = static_cast<int>(sizes.pool < sizes.time ? sizes.pool : sizes.time);
    kernel_call.dz_weight_bytes = (1 + has_next) * C * C * 2;
    kernel_call.dz_slots = slots_beside<C>(kernel_call.dz_weight_bytes);
    kernel_call.h_weight_bytes = static_cast<int>(taps) * 2 * C * C * 2;
    kernel_call.h_slots = slots_beside<C>(kernel_call.h_weight_bytes);
    kernel_call.has_next = has_next;
    const std::size_t shared = std::max(kernel_call.dz_weight_bytes + kernel_call.dz_slots * slot_bytes<C>(),
                                        kernel_call.h_weight_bytes + kernel_call.h_slots * slot_bytes<C>()) +
                               kBarrierBytes;
    const CUtensorMap x = map_rows(call.x, sizes.batch, sizes.time, C);
    launch(gate_backward_wgmma_kernel<C>, cluster_shape(sizes.batch, sizes.time, shared), stream, x,
           has_next ? map_rows(call.dx_next, sizes.batch, sizes.time, C) : x,
           map_rows(call.dsum, sizes.batch, sizes.time, C), map_rows(call.dh, sizes.batch, sizes.time, 2 * C),
           map_weights(weights.taps_straight + call.layer * taps * 2 * matrix, taps, 2 * C, C),
           map_weights(weights.residual_crossed + call.layer * matrix, 1, C, C),
           map_weights(weights.skip_crossed + call.layer * matrix, 1, C, C), kernel_call);
  };
  if (channels == 64) return run(std::integral_constant<int, 64>());
  if (channels == 128 && slots_beside<128>(taps * 2 * matrix * 2) > taps)
    return run(std::integral_constant<int, 128>());
  mma::gate_backward(sizes, packed, call, stream);
}

}  // namespace musicstar::cuda::wgmma
