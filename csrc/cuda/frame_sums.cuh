// The condition's gradient, as the tensor-core kernels begin it: while dh is in registers, a warp sums each strip of 16
// rows that it holds, apart for the frame of the strip's first row and (where a frame begins within the strip) for the
// next. stack_frame_sums.cu adds the strips of each frame. So dh is not read again: 16 rows become one or two.
//
//   strips [B][ceil(T / tile) tile / 16][2][2 C], fp32; the second of two is written only where a frame begins
#pragma once

#include "cuda/instructions.cuh"

namespace musicstar::cuda {

constexpr int kStripRows = 16;

// Sums each of eight values over the eight lanes that share lane % 4; the lane is left with the sum of value lane / 4.
// Half of the values travel at each of three steps, always in the same order.
__device__ __forceinline__ float sum_over_rows(const float (&values)[8]) {
  const int lane = lane_of_thread();
  float four[4], two[2];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float mine = lane & 16 ? values[i + 4] : values[i], other = lane & 16 ? values[i] : values[i + 4];
    four[i] = mine + __shfl_xor_sync(kAllLanes, other, 16);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float mine = lane & 8 ? four[i + 2] : four[i], other = lane & 8 ? four[i] : four[i + 2];
    two[i] = mine + __shfl_xor_sync(kAllLanes, other, 8);
  }
  const float mine = lane & 4 ? two[1] : two[0], other = lane & 4 ? two[0] : two[1];
  return mine + __shfl_xor_sync(kAllLanes, other, 4);
}

// The strips of a thread's rows. Columns come in pairs of neighbours: gate and filter, at `column` and C beyond.
template <int C>
class StripSums {
 public:
  // `strips`: this sequence's, or null; t: the first row of the strip.
  __device__ __forceinline__ StripSums(float* strips, int t, int pool)
      : to_(strips == nullptr ? nullptr : strips + static_cast<std::int64_t>(t / kStripRows) * 4 * C) {
    const int lane_row = lane_of_thread() / 4, until_next = pool - t % pool;
    two_frames_ = until_next < kStripRows;
    upper_in_first_ = lane_row < until_next;
    lower_in_first_ = lane_row + 8 < until_next;
  }

  // dh of two column pairs that lie 8 apart, in the strip's rows lane / 4 (upper) and lane / 4 + 8 (lower):
  // [pair][gate, gate, filter, filter]. By all lanes; `column`: of the first pair, without lane % 4.
  __device__ __forceinline__ void add(int column, const float (&upper)[2][4], const float (&lower)[2][4]) const {
    if (to_ == nullptr) return;
    sum(column, upper, lower, upper_in_first_, lower_in_first_, to_);
    if (two_frames_) sum(column, upper, lower, !upper_in_first_, !lower_in_first_, to_ + 2 * C);
  }

 private:
  __device__ __forceinline__ static void sum(int column, const float (&upper)[2][4], const float (&lower)[2][4],
                                             bool with_upper, bool with_lower, float* to) {
    float values[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i] = (with_upper ? upper[i / 4][i % 4] : 0.0f) + (with_lower ? lower[i / 4][i % 4] : 0.0f);
    }
    const float total = sum_over_rows(values);
    const int lane = lane_of_thread(), value = lane / 4;
    to[value / 2 % 2 * C + column + value / 4 * 8 + lane % 4 * 2 + value % 2] = total;
  }

  float* to_;
  bool two_frames_, upper_in_first_, lower_in_first_;
};

}  // namespace musicstar::cuda
