// Rows times a packed matrix: nearly all the time of both engines is spent here.
//
//   y[r] = init[r] + bias + x[r] W     rows r, x in the form of its precision, sums and y in fp32 (int8: sums in int32)
//
// A block of ROWS x TILES keeps all its sums in registers (ROWS x 2 TILES vectors) and reads each weight once for its
// rows: 6 x 2 sums of 16 registers with AVX2, 8 x 2 of 32 with AVX-512. A tile of weights, inputs x 2 vectors, stays in
// the first-level cache while all rows go by, and they ask meanwhile for the next one, a part each, where the network
// is too large for the nearer caches; the next matrix lies behind the last tile (arena.h). The bound is one
// multiply-add a cycle for many rows, the weights' bandwidth for one.
//
// Exactness: an output is a chain of multiply-adds over its inputs in index order, whatever block of rows it is
// computed in. So lanes, threads and pieces never change a bit within one instruction set and precision.
#pragma once

#include "cpu/kernels.h"
#include "cpu/precisions.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

constexpr std::int64_t kLine = 64;
// A sampler whose matrices have more weights than these reads them out of the farther caches, whatever their precision,
// and while 2 to 32 rows go by, the processor does not fetch the next tile early enough by itself. (For one row it
// does. An encoder takes many rows for each tile.)
constexpr std::int64_t kNearWeights = 12 << 10, kRowsAskingAhead = 32;

template <class P, int ROWS, int TILES, bool ASKS_AHEAD = false>
inline __attribute__((always_inline)) void product_block(const PackedMatrix& w, std::int64_t tile, const char* x,
                                                         std::int64_t x_bytes, const float* init,
                                                         std::int64_t init_stride, float* y, std::int64_t y_stride,
                                                         const char* ahead = nullptr, std::int64_t ahead_step = 0) {
  constexpr int kVectors = 2 * TILES;
  const auto start = [&](int r, std::int64_t at) {
    const Vector from = load(init + r * init_stride + at);
    return w.bias == nullptr ? from : from + load(w.bias + at);
  };
  constexpr std::int64_t kTileBytes = kTile * 4;  // a group of inputs for a tile of outputs
  typename P::Sum sums[ROWS][kVectors];
  const std::int64_t first = tile * kTile;
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (P::kScaled) {
        sums[r][v] = typename P::Sum{};
      } else {
        sums[r][v] = start(r, first + v * kWidth);
      }
    }
  }
  const char* weights = w.weight + tile * w.groups * kTileBytes;
  if constexpr (ASKS_AHEAD && !P::kScaled) {  // the lines that the next block of these rows waits for before it starts
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) __builtin_prefetch(init + r * init_stride + first + TILES * kTile);
  }
#pragma GCC unroll 4
  for (std::int64_t k = 0; k < w.groups; ++k) {
    const auto weights_of = [&](int v, int step) {
      return P::weights(weights + (v / 2) * w.groups * kTileBytes + (v % 2) * (kTileBytes / 2), step);
    };
    if constexpr (ROWS <= 2) {  // the steps of one vector of weights after each other: what was read is at hand
      typename P::Input inputs[P::kSteps][ROWS];
#pragma GCC unroll 16
      for (int i = 0; i < P::kSteps * ROWS; ++i)
        inputs[i / ROWS][i % ROWS] = P::input(x + i % ROWS * x_bytes, k, i / ROWS);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
        for (int i = 0; i < P::kSteps * ROWS; ++i) {
          P::multiply_add(sums[i % ROWS][v], weights_of(v, i / ROWS), inputs[i / ROWS][i % ROWS]);
        }
      }
    } else {  // the rows of one step after each other: their inputs need not be at hand together
#pragma GCC unroll 2
      for (int step = 0; step < P::kSteps; ++step) {
        typename P::Weights multiplied[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) multiplied[v] = weights_of(v, step);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
          const auto input = P::input(x + r * x_bytes, k, step);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) P::multiply_add(sums[r][v], multiplied[v], input);
        }
      }
    }
    if constexpr (ASKS_AHEAD) {
      for (std::int64_t line = 0; line < TILES * kTileBytes; line += kLine) __builtin_prefetch(ahead + line);
      ahead += ahead_step;
    }
    weights += kTileBytes;
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
    [[maybe_unused]] float scale = 1.0f;
    if constexpr (P::kScaled) scale = row_scale(x + r * x_bytes, w.row_floats);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t at = first + v * kWidth;
      if constexpr (P::kScaled) {
        const Integers exact = sums[r][v] - load_integers(w.corrections + at);
        const Vector factors = scale * load(w.scales + at);
        store(y + r * y_stride + at, multiply_add(__builtin_convertvector(exact, Vector), factors, start(r, at)));
      } else {
        store(y + r * y_stride + at, sums[r][v]);
      }
    }
  }
}

// The tiles from `tile` on that go side by side in blocks of TILES; what is behind a block is asked for meanwhile.
template <class P, int ROWS, int TILES, bool ASKS_AHEAD>
inline std::int64_t product_of_tiles_beside(std::int64_t tile, const PackedMatrix& w, const char* x,
                                            std::int64_t x_bytes, const float* init, std::int64_t init_stride, float* y,
                                            std::int64_t y_stride) {
  const std::int64_t tile_bytes = w.groups * kTile * 4;
  for (; tile + TILES <= w.tiles; tile += TILES) {
    product_block<P, ROWS, TILES, ASKS_AHEAD>(w, tile, x, x_bytes, init, init_stride, y, y_stride,
                                              w.weight + (tile + TILES) * tile_bytes, TILES * kTile * 4);
  }
  return tile;
}

// One or two rows alone: several tiles side by side hide the latency of their multiply-adds.
template <class P, int ROWS, bool ASKS_AHEAD>
inline void product_of_few(const PackedMatrix& w, const char* x, std::int64_t x_bytes, const float* init,
                           std::int64_t init_stride, float* y, std::int64_t y_stride) {
  std::int64_t tile = 0;
  if constexpr (ROWS == 1) {
    tile = product_of_tiles_beside<P, 1, 4, ASKS_AHEAD>(tile, w, x, x_bytes, init, init_stride, y, y_stride);
  }
  tile = product_of_tiles_beside<P, ROWS, 2, ASKS_AHEAD>(tile, w, x, x_bytes, init, init_stride, y, y_stride);
  product_of_tiles_beside<P, ROWS, 1, ASKS_AHEAD>(tile, w, x, x_bytes, init, init_stride, y, y_stride);
}

// A tile for `rows` rows, 2 to ROWS of them.
template <class P, int ROWS, bool ASKS_AHEAD>
inline void product_of_tile(std::int64_t rows, const PackedMatrix& w, std::int64_t tile, const char* x,
                            std::int64_t x_bytes, const float* init, std::int64_t init_stride, float* y,
                            std::int64_t y_stride, const char* ahead, std::int64_t ahead_step) {
  if constexpr (ROWS > 2) {
    if (rows < ROWS) {
      product_of_tile<P, ROWS - 1, ASKS_AHEAD>(rows, w, tile, x, x_bytes, init, init_stride, y, y_stride, ahead,
                                               ahead_step);
      return;
    }
  }
  product_block<P, ROWS, 1, ASKS_AHEAD>(w, tile, x, x_bytes, init, init_stride, y, y_stride, ahead, ahead_step);
}

// Three rows and more, tile by tile, in blocks as equal as can be: a small last one would wait for its own
// multiply-adds.
template <class P, bool ASKS_AHEAD>
inline void product_of_many(const PackedMatrix& w, const char* x, std::int64_t x_bytes, const float* init,
                            std::int64_t init_stride, float* y, std::int64_t y_stride, std::int64_t rows) {
  const std::int64_t blocks = (rows + P::kRows - 1) / P::kRows;
  const std::int64_t least = rows / blocks, larger = rows % blocks;
  const std::int64_t tile_bytes = w.groups * kTile * 4, ahead_bytes = tile_bytes / blocks;  // of the next, by block
  const char* ahead = w.weight + tile_bytes;
  for (std::int64_t tile = 0; tile < w.tiles; ++tile) {
    std::int64_t row = 0;
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t count = least + (block < larger ? 1 : 0);
      product_of_tile<P, P::kRows, ASKS_AHEAD>(count, w, tile, x + row * x_bytes, x_bytes, init + row * init_stride,
                                               init_stride, y + row * y_stride, y_stride, ahead, kTile * 4 / blocks);
      ahead += ahead_bytes;
      row += count;
    }
  }
}

template <class P, bool ASKS_AHEAD>
inline void product_of_several(const PackedMatrix& w, const char* x, std::int64_t x_bytes, const float* init,
                               std::int64_t init_stride, float* y, std::int64_t y_stride, std::int64_t rows) {
  if (rows == 2) {
    product_of_few<P, 2, ASKS_AHEAD>(w, x, x_bytes, init, init_stride, y, y_stride);
  } else {
    product_of_many<P, ASKS_AHEAD>(w, x, x_bytes, init, init_stride, y, y_stride, rows);
  }
}

// OF_SAMPLER: the next product's weights lie behind these.
template <class P, bool OF_SAMPLER = false>
void product(const PackedMatrix& w, const char* x, std::int64_t x_bytes, const float* init, std::int64_t init_stride,
             float* y, std::int64_t y_stride, std::int64_t rows) {
  const std::int64_t weights = w.tiles * kTile * w.groups * P::kFormat.group;
  if (rows == 1) {
    product_of_few<P, 1, false>(w, x, x_bytes, init, init_stride, y, y_stride);
  } else if (OF_SAMPLER && rows <= kRowsAskingAhead && weights > kNearWeights) {
    product_of_several<P, OF_SAMPLER>(w, x, x_bytes, init, init_stride, y, y_stride, rows);
  } else {
    product_of_several<P, false>(w, x, x_bytes, init, init_stride, y, y_stride, rows);
  }
}

// Rows of activations as a product takes them. Floats stay where they already stand.
struct Rows {
  const char* data;
  std::int64_t bytes;  // from one row to the next
};

template <class P>
inline Rows rows_of(const float* x, std::int64_t stride, std::int64_t floats, std::int64_t rows, char* scratch) {
  if constexpr (!P::kConverted) {
    return {reinterpret_cast<const char*>(x), stride * static_cast<std::int64_t>(sizeof(float))};
  } else {
    const std::int64_t bytes = P::kFormat.row_bytes(floats);
    for (std::int64_t r = 0; r < rows; ++r) P::convert(x + r * stride, floats, scratch + r * bytes);
    return {scratch, bytes};
  }
}

void product_fp32(const PackedMatrix& w, const float* x, std::int64_t x_stride, const float* init,
                  std::int64_t init_stride, float* y, std::int64_t y_stride, std::int64_t rows) {
  product<Fp32>(w, reinterpret_cast<const char*>(x), x_stride * 4, init, init_stride, y, y_stride, rows);
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
