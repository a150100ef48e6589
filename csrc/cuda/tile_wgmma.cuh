// Tiles of time rows on wgmma tensor cores with the weights of a layer resident: what the sm_90a kernels of the
// residual stacks are made of.
//
// A block stays on its SM and works through tiles of 64 rows of one sequence. Its weights (up to 160 KiB, from 0 on)
// arrive once. Tiles of rows arrive by tensor copies in a ring of slots of 64 x C bf16 (16 KiB for C = 128): a tap is
// the same tensor at a shifted coordinate, and what lies outside the sequence arrives as zeros. One thread of a third
// warpgroup issues the copies; two consumer warpgroups take the tiles in turn, so that one's products run under the
// other's epilogue.
//
// Slots are filled and freed in one order: copy n goes to slot n % slots, when all four warps of the consumer of copy n
// - slots have released it. A consumer releases a tap as soon as its product is done, the tile that it writes back last
// when its store has read it. There are at least as many slots as a tile has copies: so the ring cannot lock
// up, and who waits for a copy knows that the one two rounds before it has landed (see `full`).
//
// Rows of C bf16 lie as C / 64 pieces of [64 rows][64 columns] with the 128-byte swizzle, weights [N][C] likewise as
// pieces of [N][64]: all operands are K-major.
#pragma once

#include "cuda/instructions.cuh"
#include "cuda/launch.h"
#include "cuda/tensor_map.h"

namespace musicstar::cuda::wgmma {

constexpr int kRows = 64, kConsumers = 2, kGroupThreads = 128, kThreads = (kConsumers + 1) * kGroupThreads;
// Registers a thread: 168 of them at the launch (65,536 / 384), then split anew between the groups.
constexpr int kConsumerRegisters = 232, kCopierRegisters = 40;
constexpr int kMaxSlots = 8;
constexpr int kSharedLimit = 227 * 1024;  // of a block on compute capability 9.0
constexpr int kBarrierBytes = (3 * kMaxSlots + 1 + kConsumers * kMaxSlots) * 8;

template <int C>
__host__ __device__ constexpr int slot_bytes() {
  return kRows * C * 2;
}
// How many slots fit beside so many bytes of weights; fewer than a tile's copies: the kernel cannot run.
template <int C>
int slots_beside(std::int64_t weight_bytes) {
  const std::int64_t slots = (kSharedLimit - kBarrierBytes - weight_bytes) / slot_bytes<C>();
  return static_cast<int>(slots > kMaxSlots ? kMaxSlots : slots);
}

// Byte offset of a 16-byte piece of a row within a slot (`piece` of C / 8).
__device__ __forceinline__ int slot_offset(int row, int piece) {
  return piece / 8 * (kRows * 128) + row * 128 + ((piece ^ row) & 7) * 16;
}

// Shared memory of a block with so many bytes of weights and so many slots, and the copies in it.
template <int C>
class Ring {
 public:
  __device__ Ring(int weight_bytes, unsigned slots)
      : shared_(dynamic_shared<unsigned char>()), weight_bytes_(weight_bytes), slots_(slots) {
    full_ = reinterpret_cast<Mbarrier*>(shared_ + weight_bytes + slots * slot_bytes<C>());
    empty_ = full_ + 2 * slots;
    weights_here_ = empty_ + slots;
  }

  // Before anything else, by all threads of the block.
  __device__ void start() const {
    if (threadIdx.x == 0) {
      for (unsigned i = 0; i < slots_; ++i) {
        for (unsigned j = 0; j < 2; ++j) mbarrier_init(full_ + 2 * i + j, 1);
        mbarrier_init(empty_ + i, kGroupThreads / kWarp);
      }
      mbarrier_init(weights_here_, 1);
      for (int i = 0; i < kConsumers * kMaxSlots; ++i) mbarrier_init(weights_here_ + 1 + i, 1);
      fence_mbarrier_init();
    }
    __syncthreads();
  }

  __device__ __forceinline__ unsigned char* weights() const { return shared_; }
  __device__ __forceinline__ unsigned char* slot(unsigned copy) const {
    return shared_ + weight_bytes_ + copy % slots_ * slot_bytes<C>();
  }

  // Even and odd rounds through the slots have mbarriers of their own. A group may wait for a copy whose slot still
  // awaits the other group's copy of the round before; on one mbarrier, whose waiters know but the parity of a phase,
  // it would take the phase before that for its own.
  __device__ __forceinline__ Mbarrier* full(unsigned copy) const { return full_ + 2 * (copy % slots_) + round(copy); }
  __device__ __forceinline__ Mbarrier* empty(unsigned copy) const { return empty_ + copy % slots_; }
  // For blocks of a cluster: that the slot of tile q may be filled for the receiver whom `group` works for. Taken in
  // turn, as several may be free at a time, but never more than there are slots.
  __device__ __forceinline__ Mbarrier* grant(int group, unsigned q) const {
    return weights_here_ + 1 + group * kMaxSlots + q % kMaxSlots;
  }
  __device__ __forceinline__ unsigned round(unsigned copy) const { return copy / slots_ & 1; }
  __device__ __forceinline__ unsigned full_parity(unsigned copy) const { return copy / slots_ / 2 & 1; }

  // --- The copying thread ---

  // Announces all weights, whose copies follow.
  __device__ void expect_weights() const { mbarrier_arrive_expect(weights_here_, weight_bytes_); }
  // Matrix z of the map, [outputs][C] from `first_column` on, to `to` (pieces of 64 columns after each other).
  __device__ void copy_weights(const CUtensorMap* map, int outputs, int first_column, int z, unsigned char* to) const {
    for (int piece = 0; piece < C / 64; ++piece) {
      tensor_copy_3d(to + piece * outputs * 128, map, first_column + piece * 64, 0, z, weights_here_);
    }
  }

  // Waits until copy n's slot is free, and announces its bytes.
  __device__ void expect_rows(unsigned n) const {
    mbarrier_wait(empty(n), round(n) ^ 1);
    mbarrier_arrive_expect(full(n), slot_bytes<C>());
  }
  // Copy n: 64 rows of a sequence from row t on, C columns from `first_column` on.
  __device__ void copy_rows(unsigned n, const CUtensorMap* map, int first_column, int t, int batch) const {
    expect_rows(n);
    for (int piece = 0; piece < C / 64; ++piece) {
      tensor_copy_3d(slot(n) + piece * (kRows * 128), map, first_column + piece * 64, t, batch, full(n));
    }
  }

  // --- The consumers ---

  __device__ __forceinline__ void await_weights() const { mbarrier_wait(weights_here_, 0); }
  __device__ __forceinline__ void await(unsigned n) const { mbarrier_wait(full(n), full_parity(n)); }
  // Where another block of the cluster has made the copy.
  __device__ __forceinline__ void await_remote(unsigned n) const { mbarrier_wait_cluster(full(n), full_parity(n)); }
  // By all four warps of the group, each when it is done with copy n.
  __device__ __forceinline__ void release(unsigned n) const {
    __syncwarp();
    if (lane_of_thread() == 0) mbarrier_arrive(empty(n));
  }

 private:
  unsigned char* shared_;
  Mbarrier *full_, *empty_, *weights_here_;
  int weight_bytes_;
  unsigned slots_;
};

// The tiles of a block (or of a group of one): first, first + step, ...
class Tiles {
 public:
  __device__ Tiles(std::int64_t first, std::int64_t step, int time, std::int64_t batch)
      : first_(first), step_(step), sequence_tiles_((time + kRows - 1) / kRows), tiles_(batch * sequence_tiles_) {}

  // The q-th: its number among the tiles of all blocks.
  __device__ __forceinline__ std::int64_t number(unsigned q) const { return first_ + q * step_; }
  // Its sequence and first row; false beyond the last.
  __device__ __forceinline__ bool operator()(unsigned q, int& batch, int& t0) const {
    const std::int64_t tile = number(q);
    if (tile >= tiles_) return false;
    batch = static_cast<int>(tile / sequence_tiles_);
    t0 = static_cast<int>(tile % sequence_tiles_) * kRows;
    return true;
  }

 private:
  std::int64_t first_, step_;
  int sequence_tiles_;
  std::int64_t tiles_;
};

// --- What a consumer warpgroup does ---

// A thread of a consumer group: its sums d[4 j + 2 half + i] are row + 8 half, column + 8 j + i of the tile; as
// operands in registers, fragment k holds columns 16 k .. 16 k + 15 of the same rows.
struct Consumer {
  int group, thread, warp, lane;
  int row, column;

  __device__ Consumer()
      : group(warp_of_thread() / 4), thread(static_cast<int>(threadIdx.x) % kGroupThreads), warp(warp_of_thread() % 4) {
    lane = lane_of_thread();
    row = 16 * warp + lane / 4;
    column = lane % 4 * 2;
  }
  // The group's own barrier.
  __device__ __forceinline__ void sync() const { named_barrier_sync(1 + group, kGroupThreads); }
  // Where this lane's row of the 8 x 8 matrices of fragment k lies in a slot, for ldmatrix_x4 and stmatrix_x4.
  __device__ __forceinline__ int fragment(int k) const { return slot_offset(16 * warp + lane % 16, 2 * k + lane / 16); }
};

// d (+)= rows [64][C] weights [N][C]^T, both in shared memory; under way when this returns.
template <int C, int N>
__device__ __forceinline__ void multiply(float (&d)[N / 2], const unsigned char* rows, const unsigned char* weights,
                                         bool accumulate) {
#pragma unroll
  for (int k = 0; k < C / 16; ++k) {
    wgmma_bf16<N>(d, shared_descriptor(rows + k / 4 * (kRows * 128) + k % 4 * 32, 16, 1024),
                  shared_descriptor(weights + k / 4 * (N * 128) + k % 4 * 32, 16, 1024), accumulate || k > 0);
  }
}

// The same with the rows as fragments in registers.
template <int C, int N>
__device__ __forceinline__ void multiply(float (&d)[N / 2], const std::uint32_t (&rows)[C / 16][4],
                                         const unsigned char* weights, bool accumulate) {
#pragma unroll
  for (int k = 0; k < C / 16; ++k) {
    wgmma_bf16_registers<N>(d, rows[k], shared_descriptor(weights + k / 4 * (N * 128) + k % 4 * 32, 16, 1024),
                            accumulate || k > 0);
  }
}

// The first thread of a group: a slot to 64 rows of `map`.
template <int C>
__device__ __forceinline__ void store_slot(const CUtensorMap* map, int first_column, int t0, int batch,
                                           const unsigned char* slot) {
  for (int piece = 0; piece < C / 64; ++piece) {
    tensor_store_3d(map, first_column + piece * 64, t0, batch, slot + piece * (kRows * 128));
  }
  bulk_commit();
}

// --- The host's side ---

// Sequences [B][T][stride], read and written in pieces of 64 rows x 64 of `columns` columns.
inline CUtensorMap map_rows(const bf16* data, std::int64_t batch, std::int64_t time, std::int64_t columns) {
  TensorShape shape;
  shape.x = columns, shape.y = time, shape.z = batch;
  shape.stride_y = columns, shape.stride_z = time * columns;
  shape.box_x = 64, shape.box_y = kRows;
  return make_tensor_map_3d(data, shape, Swizzle::k128);
}

// Matrices [count][outputs][inputs], read in pieces of all rows x 64 columns.
inline CUtensorMap map_weights(const bf16* data, std::int64_t count, std::int64_t outputs, std::int64_t inputs) {
  TensorShape shape;
  shape.x = inputs, shape.y = outputs, shape.z = count;
  shape.stride_y = inputs, shape.stride_z = outputs * inputs;
  shape.box_x = 64, shape.box_y = static_cast<int>(outputs);
  return make_tensor_map_3d(data, shape, Swizzle::k128);
}

// A shift as a coordinate: beyond the sequence's length everything is zero alike.
inline int clamped_shift(std::int64_t shift, std::int64_t time) {
  return static_cast<int>(shift > time ? time : shift < -time - kRows ? -time - kRows : shift);
}

// One block an SM, no more blocks than tiles.
template <int C>
LaunchShape resident_shape(std::int64_t batch, std::int64_t time, std::int64_t weight_bytes) {
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "asking for the current GPU");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking how many SMs there are");
  const std::int64_t tiles = batch * ((time + kRows - 1) / kRows);
  const std::int64_t shared = weight_bytes + slots_beside<C>(weight_bytes) * slot_bytes<C>() + kBarrierBytes;
  return {dim3(static_cast<unsigned>(tiles < multiprocessors ? tiles : multiprocessors)), dim3(kThreads),
          static_cast<std::size_t>(shared)};
}

}  // namespace musicstar::cuda::wgmma
