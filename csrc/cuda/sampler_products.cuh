// Products of a warp's resident weights with the activations of a group: d[16 rows of each tile][8 lanes] += a b, b in
// shared memory as [channel][8 lanes] bf16.
#pragma once

#include "cuda/instructions.cuh"
#include "cuda/sampler_pipeline.h"

namespace musicstar::cuda {

// The fragments of `Tiles` tiles, kept in registers for a whole launch.
template <int Tiles, int Steps>
struct Resident {
  std::uint32_t a[Tiles][Steps][4];

  // `packed`: one matrix, [warp][tile][step][lane].
  __device__ __forceinline__ void load(const uint4* packed, int warp, int lane) {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile) {
#pragma unroll
      for (int step = 0; step < Steps; ++step) {
        const uint4 fragment = __ldg(packed + ((warp * Tiles + tile) * Steps + step) * 32 + lane);
        a[tile][step][0] = fragment.x;
        a[tile][step][1] = fragment.y;
        a[tile][step][2] = fragment.z;
        a[tile][step][3] = fragment.w;
      }
    }
  }

  // Two steps share one load of b; the next load is under way while the products of this one run.
  __device__ __forceinline__ void accumulate(float (&d)[Tiles][4], const unsigned char* b, int lane) const {
    static_assert(Steps % 2 == 0, "two steps a load");
    const unsigned char* const row = b + lane * (kGroupLanes * 2);
    std::uint32_t next[4];
    ldmatrix_x4_transposed(next, row);
#pragma unroll
    for (int step = 0; step < Steps; step += 2) {
      const std::uint32_t first[2] = {next[0], next[1]}, second[2] = {next[2], next[3]};
      if (step + 2 < Steps) ldmatrix_x4_transposed(next, row + (step + 2) * 16 * kGroupLanes * 2);
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) mma_bf16_m16n8k16(d[tile], a[tile][step], first);
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) mma_bf16_m16n8k16(d[tile], a[tile][step + 1], second);
    }
  }
};

// A warp's tile in bf16 to [channel][8 lanes] in shared memory.
__device__ __forceinline__ void store_rows(unsigned char* rows, int row, int column, const float (&values)[4]) {
  *reinterpret_cast<std::uint32_t*>(rows + row * kGroupLanes * 2 + 2 * column) = pack_bf16(values[0], values[1]);
  *reinterpret_cast<std::uint32_t*>(rows + (row + 8) * kGroupLanes * 2 + 2 * column) = pack_bf16(values[2], values[3]);
}

__device__ __forceinline__ void load_four(float (&values)[4], const float* p) {
  const float4 four = *reinterpret_cast<const float4*>(p);
  values[0] = four.x;
  values[1] = four.y;
  values[2] = four.z;
  values[3] = four.w;
}
__device__ __forceinline__ void store_four(float* p, const float (&values)[4]) {
  *reinterpret_cast<float4*>(p) = make_float4(values[0], values[1], values[2], values[3]);
}

}  // namespace musicstar::cuda
