// A tile of time rows on mma.sync tensor cores: what the sm_80 kernels of the residual stacks are made of.
//
//   sums[128 rows][N] += rows[128][C] weights[N][C]^T,  N = C or 2 C,  C in {32, 64, 128}
//
// A block of 256 threads owns 128 consecutive rows of one sequence and all their channels. Its work is a list of such
// products ("steps"), told by a Program: each step has a tile of rows (a tap is the same sequence at a shift, zero
// outside; or something that the block has computed itself) and a matrix of weights.
//
// Threads: C / 32 warps across the columns (32 each, and with N = 2 C the same 32 of the other half, so that a thread
// has a gate and its filter) by 8 C / 32-ths down the rows: a warp holds C / 2 rows, as C / 32 x (4 or 8) tiles of 16
// x 8.
//
// Shared memory: `kBuffers` tiles of rows, used in turn, and a ring of 4 chunks of weights, 32 of the inner dimension
// each; all arrive by cp.async, chunks three ahead. 16-byte pieces are permuted within a row by the row's number, so
// that the eight rows of an ldmatrix (and of an epilogue's stores) meet all banks. C = 128: 96 KiB + 64 KiB (N = 2 C).
//
// One barrier a chunk. What it promises: at the first barrier of step s everybody has finished step s - 1, and sees
// what anybody wrote to shared memory before. The groups of cp.async: group g holds chunk g; the tiles of rows 0, 1, 2
// travel with groups 0, 1, 2 (further ones that fit at once with 2), tile j >= kBuffers with the group that the first
// chunk of step j - kBuffers + 1 issues; it is needed kBuffers - 1 steps later, and groups are awaited three chunks
// after their issue, so (kBuffers - 1) C / 32 >= 3 is what the buffers must satisfy: 8, 8 and 4.
#pragma once

#include "cuda/instructions.cuh"
#include "cuda/launch.h"

namespace musicstar::cuda::mma {

constexpr int kRows = 128, kThreads = 256, kChunk = 32, kStages = 4;

// Rows of `Columns` bf16 in shared memory; `piece` counts 16 bytes within a row.
template <int Columns>
struct SharedRows {
  static constexpr int kRowBytes = Columns * 2, kPieces = Columns / 8;
  __device__ static __forceinline__ int offset(int row, int piece) {
    return row * kRowBytes + (piece ^ (Columns >= 64 ? row & 7 : (row >> 1) & 3)) * 16;
  }
};

// A tile of rows in global memory: row r of the tile is row t0 + r + shift of `rows`, zero outside [0, time).
struct RowSource {
  const bf16* rows = nullptr;
  int stride = 0;
  std::int64_t shift = 0;
};

struct WeightSource {
  const bf16* rows = nullptr;  // [count][stride], of which the first C are taken
  int stride = 0;
  int count = 0;
};

// What is where in the block, for C channels and at most `WeightRows` rows of weights in a step.
template <int C, int WeightRows>
struct Layout {
  static constexpr int kColumnWarps = C / 32, kRowWarps = 8 / kColumnWarps;
  static constexpr int kRowTiles = kRows / kRowWarps / 16;  // of a warp: C / 32
  static constexpr int kBuffers = C == 128 ? 3 : 5;
  static constexpr int kTileBytes = kRows * C * 2, kStageBytes = WeightRows * kChunk * 2;
  static constexpr int kSharedBytes = kBuffers * kTileBytes + kStages * kStageBytes;
  static constexpr int kChunks = C / kChunk;  // of a step
  static_assert((kBuffers - 1) * kChunks >= kStages - 1, "a tile would be used before it is awaited");
};

// The place of this block and thread.
template <int C>
struct Place {
  std::int64_t batch;
  int time, t0;
  int row, column;  // of the thread's first sum: rows row + 16 m + 8 half, columns column + 8 i (+ 0, 1)

  __device__ explicit Place(int sequence_time) : time(sequence_time) {
    const int tiles = (time + kRows - 1) / kRows;
    batch = blockIdx.x / tiles;
    t0 = static_cast<int>(blockIdx.x % tiles) * kRows;
    const int warp = warp_of_thread(), lane = lane_of_thread();
    row = warp / (C / 32) * (C / 2) + lane / 4;
    column = warp % (C / 32) * 32 + lane % 4 * 2;
  }
};

// Program: int steps; int tiles (how many tiles of rows come from global memory; tile j is step j's operand where that
// is not resident); RowSource rows(int j); WeightSource weights(int step).
template <int C, int WeightRows, class Program>
class TileProducts {
 public:
  using Shape = Layout<C, WeightRows>;
  using Rows = SharedRows<C>;

  __device__ TileProducts(unsigned char* shared, const Program& program, const Place<C>& place)
      : shared_(shared), program_(program), place_(place) {
#pragma unroll
    for (int group = 0; group < kStages - 1; ++group) {
      if (group < program_.tiles) load_rows(group);
      if (group == kStages - 2) {
        for (int j = kStages - 1; j < Shape::kBuffers && j < program_.tiles; ++j) load_rows(j);
      }
      load_weights();
      cp_async_commit();
    }
  }

  __device__ __forceinline__ unsigned char* buffer(int tile) const {
    return shared_ + tile % Shape::kBuffers * Shape::kTileBytes;
  }

  // sums += rows x weights of `step`. ColumnTiles is 8 for N = 2 C, 4 for N = C.
  template <int ColumnTiles>
  __device__ __forceinline__ void multiply(float (&sums)[Shape::kRowTiles][ColumnTiles][4], int step,
                                           const unsigned char* rows) {
    const int lane = lane_of_thread(), warp = warp_of_thread();
    const int row = warp / Shape::kColumnWarps * (16 * Shape::kRowTiles) + lane % 16;
    const int column = warp % Shape::kColumnWarps * 32 + lane % 8 + lane / 16 * 8;
#pragma unroll 1
    for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
      cp_async_wait<kStages - 2>();
      __syncthreads();
      if (chunk == 0 && step > 0) {
        const int tile = step + Shape::kBuffers - 1;
        if (tile < program_.tiles) load_rows(tile);
      }
      const unsigned char* weights = weights_ring() + used_ % kStages * Shape::kStageBytes;
      ++used_;
      load_weights();
      cp_async_commit();
#pragma unroll
      for (int k = 0; k < kChunk / 16; ++k) {
        std::uint32_t a[Shape::kRowTiles][4];
#pragma unroll
        for (int m = 0; m < Shape::kRowTiles; ++m) {
          ldmatrix_x4(a[m], rows + Rows::offset(row + 16 * m, chunk * (kChunk / 8) + 2 * k + lane / 16));
        }
#pragma unroll
        for (int pair = 0; pair < ColumnTiles / 2; ++pair) {
          const int n = column + pair % 2 * 16 + pair / 2 * C;
          std::uint32_t b[4];
          ldmatrix_x4(b, weights + SharedRows<kChunk>::offset(n, 2 * k + lane / 8 % 2));
          const std::uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
          for (int m = 0; m < Shape::kRowTiles; ++m) {
            mma_bf16_m16n8k16(sums[m][2 * pair], a[m], low);
            mma_bf16_m16n8k16(sums[m][2 * pair + 1], a[m], high);
          }
        }
      }
    }
  }

  // Everything asked for has landed and everybody is here: before an epilogue reads a tile that was no operand, or
  // writes to one that was the last step's.
  __device__ __forceinline__ void finish() const {
    cp_async_wait<0>();
    __syncthreads();
  }

  // A tile of shared memory to rows t0 .. of `out`, [time][stride].
  __device__ __forceinline__ void store_rows(const unsigned char* tile, bf16* out, int stride) const {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < kRows * Rows::kPieces; i += kThreads) {
      const int row = i / Rows::kPieces, piece = i % Rows::kPieces, t = place_.t0 + row;
      if (t < place_.time) {
        *reinterpret_cast<uint4*>(out + static_cast<std::int64_t>(t) * stride + piece * 8) =
            *reinterpret_cast<const uint4*>(tile + Rows::offset(row, piece));
      }
    }
  }

 private:
  __device__ __forceinline__ unsigned char* weights_ring() const {
    return shared_ + Shape::kBuffers * Shape::kTileBytes;
  }

  __device__ __forceinline__ void load_rows(int tile) {
    const RowSource source = program_.rows(tile);
    unsigned char* to = buffer(tile);
#pragma unroll 2  // more would take registers from the sums
    for (int i = 0; i < kRows * Rows::kPieces / kThreads; ++i) {
      const int index = i * kThreads + static_cast<int>(threadIdx.x);
      const int row = index / Rows::kPieces, piece = index % Rows::kPieces;
      const std::int64_t t = place_.t0 + row + source.shift;
      const bool inside = t >= 0 && t < place_.time;
      cp_async_16(to + Rows::offset(row, piece), source.rows + (inside ? t : 0) * source.stride + piece * 8, inside);
    }
  }

  // The next chunk of weights, if there is one.
  __device__ __forceinline__ void load_weights() {
    const int step = loaded_ / Shape::kChunks, chunk = loaded_ % Shape::kChunks;
    unsigned char* to = weights_ring() + loaded_ % kStages * Shape::kStageBytes;
    ++loaded_;
    if (step >= program_.steps) return;
    const WeightSource source = program_.weights(step);
#pragma unroll
    for (int i = 0; i < WeightRows * (kChunk / 8) / kThreads + (WeightRows * (kChunk / 8) % kThreads != 0); ++i) {
      const int index = i * kThreads + static_cast<int>(threadIdx.x);
      const int row = index / (kChunk / 8), piece = index % (kChunk / 8);
      if (row < source.count) {
        cp_async_16(to + SharedRows<kChunk>::offset(row, piece),
                    source.rows + static_cast<std::int64_t>(row) * source.stride + chunk * kChunk + piece * 8);
      }
    }
  }

  unsigned char* shared_;
  const Program& program_;
  const Place<C>& place_;
  int loaded_ = 0, used_ = 0;
};

// Two neighbouring columns of a tile.
template <int C>
__device__ __forceinline__ std::uint32_t& pair_of(unsigned char* tile, int row, int column) {
  return *reinterpret_cast<std::uint32_t*>(tile + SharedRows<C>::offset(row, column / 8) + column % 8 * 2);
}

// The condition at the thread's rows and columns, kept while rows stay within a frame.
template <int C>
class FrameValues {
 public:
  float2 gate{}, filter{};

  // condition [B][frames][2 C]
  __device__ FrameValues(const float* condition, std::int64_t frames, int pool, const Place<C>& place)
      : values_(condition + place.batch * frames * 2 * C + place.column),
        pool_(pool),
        t0_(place.t0),
        last_(place.time - 1) {}

  // For a row of the tile (those beyond the sequence take its last frame) and columns from the thread's first.
  __device__ __forceinline__ void load(int row, int column) {
    const int position = min(t0_ + row, last_);
    if (column == column_ && position >= begin_ && position - begin_ < pool_) return;
    const int frame = position / pool_;
    begin_ = frame * pool_;
    column_ = column;
    const float* values = values_ + static_cast<std::int64_t>(frame) * 2 * C + column;
    gate = *reinterpret_cast<const float2*>(values);
    filter = *reinterpret_cast<const float2*>(values + C);
  }

 private:
  const float* values_;
  int pool_, t0_, last_;
  int begin_ = 0, column_ = -1;
};

// The grid of a tile kernel.
template <int C, int WeightRows>
LaunchShape tile_shape(std::int64_t batch, std::int64_t time) {
  return {dim3(static_cast<unsigned>(batch * ((time + kRows - 1) / kRows))), dim3(kThreads),
          Layout<C, WeightRows>::kSharedBytes};
}

// Calls `with` with an integral constant: the channel count, one of the table's.
template <class With>
void for_channels(std::int64_t channels, With with) {
  if (channels == 32) return with(std::integral_constant<int, 32>());
  if (channels == 64) return with(std::integral_constant<int, 64>());
  if (channels == 128) return with(std::integral_constant<int, 128>());
  throw Error("the tensor-core residual stacks take 32, 64 or 128 channels, not " + std::to_string(channels));
}

}  // namespace musicstar::cuda::mma
