// How the blocks of a pipeline hand a group's activations on.
//
// To a neighbour of the same cluster: asynchronous stores into one of its kInboxSlots slots, counted by that slot's
// mbarrier ("full"); the receiver gives the slot back by arriving at the sender's mbarrier ("empty"). To any other
// block: through L2, into a place of the group's own, where every word travels beside the number of its sample in one
// indivisible store of 8 bytes. So data are their own flag, whatever their values: no fence, and one way through L2
// instead of two. That place needs no giving back: the group's next sample begins only after the head has drawn this
// one, which it does only when every block has used what it received.
//
// So nobody waits in a circle. A block's step i waits for step i of the block before it, and, in a cluster, for step
// i - kInboxSlots of the one after it; the first block's step i waits for the head's step i - groups. The link from the
// head back to the first block is in a cluster only when it has a slot for every group, so that it never waits.
#pragma once

#include "cuda/instructions.cuh"
#include "cuda/sampler_pipeline.h"

namespace musicstar::cuda {

#ifdef MUSICSTAR_SM90
constexpr bool kHasClusters = true;
#else
constexpr bool kHasClusters = false;
#endif

// Named barriers of a block. Those in pairs alternate with the parity of a step.
constexpr int kChainBarrier = 1, kSideBarrier = 2, kGatedBarrier = 3, kOlderBarrier = 5;

// Where a thread stands in its role: its accumulators of tile p are rows `row(p)` and `row(p) + 8`, lanes `column` and
// `column + 1` of the group.
template <int R>
struct Stand {
  int warp, lane, group, column;
  __device__ __forceinline__ explicit Stand(int warp_of_role)
      : warp(warp_of_role), lane(lane_of_thread()), group(lane_of_thread() / 4), column(2 * (lane_of_thread() % 4)) {}
  __device__ __forceinline__ int row(int tile) const { return (warp * Spread<R>::kTiles + tile) * 16 + group; }
};

// A block's place: which of its pipeline (a layer, or the head after all of them), and the pipeline's groups.
struct Place {
  int block, first_group, groups;
};

// The steps of a pipeline: sample by sample, and for each sample group by group.
struct Step {
  int index = 0, sample = 0, group = 0;
  __device__ __forceinline__ void advance(int groups) {
    ++index;
    if (++group == groups) {
      group = 0;
      ++sample;
    }
  }
};

// Both ends of a block: whom it receives from, whom it sends to.
template <int R, bool Clusters>
class Links {
 public:
  static constexpr int kWarps = Spread<R>::kWarps, kTiles = Spread<R>::kTiles;
  static constexpr int kRowBytes = kGroupLanes * 2;
  static constexpr int kHalfBytes = R * kRowBytes;  // of x's high or low half
  static constexpr int kHalfWords = 4 * R;          // the same in a packet
  static constexpr PipelineShared kShared = pipeline_shared(R, 0);

  __device__ __forceinline__ Links(const PipelineCall& call, const Place& place, unsigned char* shared)
      : call_(call), shared_(shared), first_group_(place.first_group), block_(place.block) {
    if constexpr (Clusters && kHasClusters) {
      const int block = place.block, last = call.depth;
      const bool one_cluster = call.blocks == call.cluster && place.groups <= kInboxSlots;
      const int rank = block % call.cluster;
      from_cluster_ = block == 0 ? one_cluster : rank != 0;
      to_cluster_ = block == last ? one_cluster : rank + 1 != call.cluster;
      if (from_cluster_) before_ = remote_address(shared, static_cast<std::uint32_t>(block == 0 ? last : rank - 1));
      if (to_cluster_) after_ = remote_address(shared, static_cast<std::uint32_t>(block == last ? 0 : rank + 1));
    }
  }

  // By one thread, before the cluster's first meeting.
  __device__ __forceinline__ static void initialise(unsigned char* shared) {
    if constexpr (Clusters && kHasClusters) {
      auto* const barriers = reinterpret_cast<Mbarrier*>(shared + PipelineShared::kBarriers);
      for (int slot = 0; slot < kInboxSlots; ++slot) {
        mbarrier_init(barriers + kFullX + slot, 1);
        mbarrier_init(barriers + kFullS + slot, 1);
        mbarrier_init(barriers + kEmptyX + slot, kWarps);
        mbarrier_init(barriers + kEmptyS + slot, kWarps);
        mbarrier_arrive_expect(barriers + kFullX + slot, 2 * kHalfBytes);
        mbarrier_arrive_expect(barriers + kFullS + slot, 2 * kHalfBytes);
      }
      fence_mbarrier_init();
    }
  }

  // A warp's rows of x to the next block.
  __device__ __forceinline__ void send_x(const Step& step, const Stand<R>& stand, const float (&x)[kTiles][4]) {
    std::uint32_t high[kTiles][2], low[kTiles][2];
#pragma unroll
    for (int p = 0; p < kTiles; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float a = x[p][2 * half], b = x[p][2 * half + 1];
        high[p][half] = pack_bf16(a, b);
        const float2 rounded = unpack_bf16(high[p][half]);
        low[p][half] = pack_bf16(a - rounded.x, b - rounded.y);
      }
    }
    if constexpr (Clusters && kHasClusters) {
      if (to_cluster_) {
        const int slot = step.index % kInboxSlots;
        mbarrier_wait_cluster(empty_x(slot), (step.index / kInboxSlots % 2) ^ 1);
        const RemoteAddress barrier = after_ + (kFullX + slot) * 8;
        const RemoteAddress to = after_ + PipelineShared::kHigh + slot * kHalfBytes;
#pragma unroll
        for (int p = 0; p < kTiles; ++p) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            store_remote_async(to + high_offset(stand, p, half), high[p][half], barrier);
          }
        }
        const RemoteAddress to_low = after_ + kShared.low + slot * kHalfBytes + low_offset(stand);
        if constexpr (kTiles == 2) {
          store_remote_async(to_low, make_uint4(low[0][0], low[0][1], low[1][0], low[1][1]), barrier);
        } else {
          store_remote_async(to_low, make_uint2(low[0][0], low[0][1]), barrier);
        }
        return;
      }
    }
    std::uint64_t* const packet = packet_to(step) + stand.warp * 2 * kTiles * 32 + stand.lane;
#pragma unroll
    for (int p = 0; p < kTiles; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int word = (2 * p + half) * 32;
        store_relaxed(packet + word, numbered(high[p][half], step));
        store_relaxed(packet + kHalfWords + word, numbered(low[p][half], step));
      }
    }
  }

  // Waits until step's x lies in shared memory and returns its slot: high half [R][8], low half in thread layout. All
  // warps of the role together.
  __device__ __forceinline__ int receive_x(const Step& step, const Stand<R>& stand) {
    if constexpr (Clusters && kHasClusters) {
      if (from_cluster_) {
        const int slot = step.index % kInboxSlots;
        mbarrier_wait_cluster(full_x(slot), step.index / kInboxSlots % 2);
        // Armed before this warp gives the slot back, so before anything can arrive for the next phase.
        if (stand.warp == 0 && stand.lane == 0) mbarrier_arrive_expect(full_x(slot), 2 * kHalfBytes);
        return slot;
      }
    }
    const std::uint64_t* const packet = packet_of(step) + stand.warp * 2 * kTiles * 32 + stand.lane;
    std::uint64_t high[2 * kTiles], low[2 * kTiles];
    bool here;
    do {
      here = true;
#pragma unroll
      for (int word = 0; word < 2 * kTiles; ++word) {
        high[word] = load_relaxed(packet + word * 32);
        low[word] = load_relaxed(packet + kHalfWords + word * 32);
      }
#pragma unroll
      for (int word = 0; word < 2 * kTiles; ++word) here = here && is_of(high[word], step) && is_of(low[word], step);
    } while (!here);
    // Two slots: who has come to this step has seen all warps leave the step before the last one.
    const int slot = step.index % 2;
#pragma unroll
    for (int p = 0; p < kTiles; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        *reinterpret_cast<std::uint32_t*>(shared_ + PipelineShared::kHigh + slot * kHalfBytes +
                                          high_offset(stand, p, half)) = static_cast<std::uint32_t>(high[2 * p + half]);
        *reinterpret_cast<std::uint32_t*>(shared_ + kShared.low + slot * kHalfBytes + low_offset(stand) +
                                          (2 * p + half) * 4) = static_cast<std::uint32_t>(low[2 * p + half]);
      }
    }
    named_barrier_sync(kChainBarrier, 32 * kWarps);
    return slot;
  }

  // The sender may use the slot again.
  __device__ __forceinline__ void give_back_x(int slot, const Stand<R>& stand) {
    if constexpr (Clusters && kHasClusters) {
      __syncwarp();
      if (from_cluster_ && stand.lane == 0) mbarrier_arrive_remote(before_ + (kEmptyX + slot) * 8);
    }
  }

  __device__ __forceinline__ const unsigned char* high(int slot) const {
    return shared_ + PipelineShared::kHigh + slot * kHalfBytes;
  }

  // This thread's own values of x.
  __device__ __forceinline__ void read_x(int slot, const Stand<R>& stand, float (&x)[kTiles][4]) const {
#pragma unroll
    for (int p = 0; p < kTiles; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 high_part =
            unpack_bf16(*reinterpret_cast<const std::uint32_t*>(high(slot) + high_offset(stand, p, half)));
        const float2 low_part = unpack_bf16(*reinterpret_cast<const std::uint32_t*>(
            shared_ + kShared.low + slot * kHalfBytes + low_offset(stand) + (2 * p + half) * 4));
        x[p][2 * half] = high_part.x + low_part.x;
        x[p][2 * half + 1] = high_part.y + low_part.y;
      }
    }
  }

  // A warp's rows of the skip sum to the same warp and threads of the next block.
  __device__ __forceinline__ void send_s(const Step& step, const Stand<R>& stand, const float (&s)[kTiles][4]) {
    if constexpr (Clusters && kHasClusters) {
      if (to_cluster_) {
        const int slot = step.index % kInboxSlots;
        mbarrier_wait_cluster(empty_s(slot), (step.index / kInboxSlots % 2) ^ 1);
#pragma unroll
        for (int p = 0; p < kTiles; ++p) {
          store_remote_async(after_ + kShared.skip + slot * 2 * kHalfBytes + skip_offset(stand, p), bits_of(s[p]),
                             after_ + (kFullS + slot) * 8);
        }
        return;
      }
    }
    std::uint64_t* const packet = packet_to(step) + 2 * kHalfWords + stand.warp * 4 * kTiles * 32 + stand.lane;
#pragma unroll
    for (int p = 0; p < kTiles; ++p) {
#pragma unroll
      for (int i = 0; i < 4; ++i) store_relaxed(packet + (4 * p + i) * 32, numbered(__float_as_uint(s[p][i]), step));
    }
  }

  // Adds what the same threads of the block before have sent.
  __device__ __forceinline__ void receive_s(const Step& step, const Stand<R>& stand, float (&s)[kTiles][4]) {
    if constexpr (Clusters && kHasClusters) {
      if (from_cluster_) {
        const int slot = step.index % kInboxSlots;
        mbarrier_wait_cluster(full_s(slot), step.index / kInboxSlots % 2);
        if (stand.warp == 0 && stand.lane == 0) mbarrier_arrive_expect(full_s(slot), 2 * kHalfBytes);
#pragma unroll
        for (int p = 0; p < kTiles; ++p) {
          add(s[p],
              *reinterpret_cast<const uint4*>(shared_ + kShared.skip + slot * 2 * kHalfBytes + skip_offset(stand, p)));
        }
        __syncwarp();
        if (stand.lane == 0) mbarrier_arrive_remote(before_ + (kEmptyS + slot) * 8);
        return;
      }
    }
    const std::uint64_t* const packet = packet_of(step) + 2 * kHalfWords + stand.warp * 4 * kTiles * 32 + stand.lane;
#pragma unroll
    for (int p = 0; p < kTiles; ++p) {
      std::uint64_t words[4];
      bool here;
      do {
        here = true;
#pragma unroll
        for (int i = 0; i < 4; ++i) words[i] = load_relaxed(packet + (4 * p + i) * 32);
#pragma unroll
        for (int i = 0; i < 4; ++i) here = here && is_of(words[i], step);
      } while (!here);
#pragma unroll
      for (int i = 0; i < 4; ++i) s[p][i] += __uint_as_float(static_cast<std::uint32_t>(words[i]));
    }
    __syncwarp();
  }

 private:
  // Places in the table of barriers.
  static constexpr int kFullX = 0, kFullS = kInboxSlots, kEmptyX = 2 * kInboxSlots, kEmptyS = 3 * kInboxSlots;

  __device__ __forceinline__ static int high_offset(const Stand<R>& stand, int tile, int half) {
    return (stand.row(tile) + 8 * half) * kRowBytes + 2 * stand.column;
  }
  __device__ __forceinline__ static int low_offset(const Stand<R>& stand) {
    return (stand.warp * 32 + stand.lane) * kTiles * 8;
  }
  __device__ __forceinline__ static int skip_offset(const Stand<R>& stand, int tile) {
    return ((stand.warp * kTiles + tile) * 32 + stand.lane) * 16;
  }
  __device__ __forceinline__ static uint4 bits_of(const float (&s)[4]) {
    return make_uint4(__float_as_uint(s[0]), __float_as_uint(s[1]), __float_as_uint(s[2]), __float_as_uint(s[3]));
  }
  __device__ __forceinline__ static void add(float (&s)[4], uint4 bits) {
    s[0] += __uint_as_float(bits.x);
    s[1] += __uint_as_float(bits.y);
    s[2] += __uint_as_float(bits.z);
    s[3] += __uint_as_float(bits.w);
  }

  __device__ __forceinline__ Mbarrier* barrier(int i) const {
    return reinterpret_cast<Mbarrier*>(shared_ + PipelineShared::kBarriers) + i;
  }
  __device__ __forceinline__ Mbarrier* full_x(int slot) const { return barrier(kFullX + slot); }
  __device__ __forceinline__ Mbarrier* full_s(int slot) const { return barrier(kFullS + slot); }
  __device__ __forceinline__ Mbarrier* empty_x(int slot) const { return barrier(kEmptyX + slot); }
  __device__ __forceinline__ Mbarrier* empty_s(int slot) const { return barrier(kEmptyS + slot); }

  __device__ __forceinline__ int place_of(int receiver, int group) const {
    return receiver * call_.groups + first_group_ + group;
  }
  // [x high, x low, each [warp][tile and half][lane]; s [warp][tile and accumulator][lane]] of 8 bytes.
  __device__ __forceinline__ std::uint64_t* packet(int receiver, int group) const {
    return call_.packets + std::int64_t{place_of(receiver, group)} * words_of_packet(R);
  }
  __device__ __forceinline__ std::uint64_t* packet_to(const Step& step) const {
    return packet(block_ == call_.depth ? 0 : block_ + 1, step.group);
  }
  __device__ __forceinline__ const std::uint64_t* packet_of(const Step& step) const {
    return packet(block_, step.group);
  }
  __device__ __forceinline__ std::uint32_t number_of(const Step& step) const {
    return call_.tick + 1 + static_cast<std::uint32_t>(step.sample);
  }
  __device__ __forceinline__ std::uint64_t numbered(std::uint32_t word, const Step& step) const {
    return static_cast<std::uint64_t>(number_of(step)) << 32 | word;
  }
  __device__ __forceinline__ bool is_of(std::uint64_t word, const Step& step) const {
    return static_cast<std::uint32_t>(word >> 32) == number_of(step);
  }

  const PipelineCall& call_;
  unsigned char* const shared_;
  const int first_group_, block_;
  bool from_cluster_ = false, to_cluster_ = false;  // whether the neighbours are in this cluster; their shared memory
  RemoteAddress before_, after_;
};

}  // namespace musicstar::cuda
