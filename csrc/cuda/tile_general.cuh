// A tile of a product in plain fp32 multiply-adds, for any sizes and either storage: what the general kernels are made
// of.
//
//   sums[part][row][column] += sum over j < inner of rows[t0 + row + shift][j] weights[j][part_stride part + n0 +
//   column]
//
// A block of 256 threads owns 64 rows (of one sequence; rows outside it are zero) by 64 columns (those beyond `columns`
// are zero) of one or two parts (a gate and its filter, a GLU's halves): thread (x, y) of 16 x 16 has the rows
// 4 y .. 4 y + 3 and the columns 4 x .. 4 x + 3. Both operands pass through shared memory in steps of 16 of the inner
// dimension, in fp32. Each sum runs over j in order.
#pragma once

#include "cuda/instructions.cuh"
#include "cuda/stack_tails.cuh"

namespace musicstar::cuda {

constexpr int kGeneralRows = 64, kGeneralColumns = 64, kGeneralStep = 16, kGeneralThreads = 256;

template <int Parts>
struct GeneralShared {
  // Padded by four: the transposing stores then meet at most two to a bank, and rows stay aligned to 16 bytes.
  float rows[kGeneralStep][kGeneralRows + 4];
  float weights[Parts][kGeneralStep][kGeneralColumns];
};

// The place of a thread in its block's tile, and of the tile in the result.
struct GeneralTile {
  std::int64_t batch, t0;
  std::int64_t n0;
  int x, y;

  // Blocks along x: tiles of rows of all sequences; along y: tiles of columns.
  __device__ explicit GeneralTile(std::int64_t time) {
    const std::int64_t tiles = (time + kGeneralRows - 1) / kGeneralRows;
    batch = blockIdx.x / tiles;
    t0 = blockIdx.x % tiles * kGeneralRows;
    n0 = static_cast<std::int64_t>(blockIdx.y) * kGeneralColumns;
    x = static_cast<int>(threadIdx.x) % 16;
    y = static_cast<int>(threadIdx.x) / 16;
  }
  __device__ std::int64_t time_of(int row) const { return t0 + 4 * y + row; }
  __device__ std::int64_t column_of(int column) const { return n0 + 4 * x + column; }
};

// `rows` is the sequence's first row, [time][row_stride]; `weights` [inner][weight_stride].
template <int Parts, class T>
__device__ __forceinline__ void add_product(float (&sums)[Parts][4][4], GeneralShared<Parts>& shared,
                                            const GeneralTile& tile, const T* rows, std::int64_t row_stride,
                                            std::int64_t time, std::int64_t shift, const T* weights,
                                            std::int64_t weight_stride, std::int64_t part_stride, std::int64_t columns,
                                            std::int64_t inner) {
  const int thread = static_cast<int>(threadIdx.x);
  for (std::int64_t j0 = 0; j0 < inner; j0 += kGeneralStep) {
    __syncthreads();  // the step before is used up
#pragma unroll
    for (int i = 0; i < kGeneralRows * kGeneralStep / kGeneralThreads; ++i) {
      const int j = thread % kGeneralStep, row = thread / kGeneralStep + i * (kGeneralThreads / kGeneralStep);
      const std::int64_t t = tile.t0 + row + shift;
      const bool inside = t >= 0 && t < time && j0 + j < inner;
      shared.rows[j][row] = inside ? static_cast<float>(rows[t * row_stride + j0 + j]) : 0.0f;
    }
#pragma unroll
    for (int part = 0; part < Parts; ++part) {
#pragma unroll
      for (int i = 0; i < kGeneralColumns * kGeneralStep / kGeneralThreads; ++i) {
        const int column = thread % kGeneralColumns,
                  j = thread / kGeneralColumns + i * (kGeneralThreads / kGeneralColumns);
        const std::int64_t n = tile.n0 + column;
        const bool inside = n < columns && j0 + j < inner;
        shared.weights[part][j][column] =
            inside ? static_cast<float>(weights[(j0 + j) * weight_stride + part * part_stride + n]) : 0.0f;
      }
    }
    __syncthreads();
#pragma unroll 4
    for (int j = 0; j < kGeneralStep; ++j) {
      const float4 a = *reinterpret_cast<const float4*>(&shared.rows[j][4 * tile.y]);
      const float row[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
      for (int part = 0; part < Parts; ++part) {
        const float4 b = *reinterpret_cast<const float4*>(&shared.weights[part][j][4 * tile.x]);
        const float column[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int r = 0; r < 4; ++r) {
#pragma unroll
          for (int c = 0; c < 4; ++c) sums[part][r][c] = fmaf(row[r], column[c], sums[part][r][c]);
        }
      }
    }
  }
}

// The tails (stack_tails.cuh) of a stream that a kernel reads and of the one that it writes, value for value beside
// them. Null: none; in fp32 always.
struct GeneralTails {
  const std::uint8_t* before = nullptr;
  std::uint8_t* after = nullptr;

  template <class T>
  __device__ __forceinline__ float join(std::int64_t index, T value) const {
    const float rounded = static_cast<float>(value);
    return before == nullptr ? rounded : with_tail(rounded, std::uint32_t{before[index]} << 8);
  }
  template <class T>
  __device__ __forceinline__ T split(std::int64_t index, float value) const {
    const T rounded = static_cast<T>(value);
    if (after != nullptr) {
      after[index] = static_cast<std::uint8_t>(shifted_tail_of(value, static_cast<float>(rounded)) >> 8);
    }
    return rounded;
  }
};
template <class Call>
GeneralTails general_tails(const Call& call) {
  return {static_cast<const std::uint8_t*>(call.tails_before), static_cast<std::uint8_t*>(call.tails_after)};
}

// The grid of a result with so many columns.
inline dim3 general_grid(std::int64_t batch, std::int64_t time, std::int64_t columns) {
  return dim3(static_cast<unsigned>(batch * ((time + kGeneralRows - 1) / kGeneralRows)),
              static_cast<unsigned>((columns + kGeneralColumns - 1) / kGeneralColumns));
}

// exp in full fp32 precision, as the checking path wants it.
__device__ __forceinline__ float exact_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

}  // namespace musicstar::cuda
