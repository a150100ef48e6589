#include "cuda/sampler_packing.h"

#include <cstring>

#include "cuda/sampler_general.h"
#include "cuda/sampler_pipeline.h"

namespace musicstar::cuda {

namespace {

// Appends weight[o][i][tap], o in rows, as [i][o].
void append_turned(std::vector<float>& packed, const float* weight, std::int64_t out, std::int64_t in,
                   std::int64_t taps, std::int64_t tap) {
  for (std::int64_t i = 0; i < in; ++i) {
    for (std::int64_t o = 0; o < out; ++o) packed.push_back(weight[(o * in + i) * taps + tap]);
  }
}

void append(std::vector<float>& packed, const float* values, std::int64_t count) {
  packed.insert(packed.end(), values, values + count);
}

int warps_of(std::int64_t channels) { return channels >= 64 ? 4 : 2; }

// Appends the fragments of a matrix with `channels` columns: warp by warp the tiles that `row_of_tile(warp, tile)`
// begins, each a row of fragments. `value(row, column)`.
template <class RowOfTile, class Value>
void append_fragments(std::vector<std::uint32_t>& packed, std::int64_t channels, int tiles_of_warp,
                      const RowOfTile& row_of_tile, const Value& value) {
  for (int warp = 0; warp < warps_of(channels); ++warp) {
    for (int tile = 0; tile < tiles_of_warp; ++tile) {
      const std::int64_t first_row = row_of_tile(warp, tile);
      for (std::int64_t step = 0; step < channels / 16; ++step) {
        for (int lane = 0; lane < 32; ++lane) {
          for (int part = 0; part < 4; ++part) {
            const std::int64_t row = first_row + lane / 4 + part % 2 * 8;
            const std::int64_t column = step * 16 + lane % 4 * 2 + part / 2 * 8;
            packed.push_back(bf16_bits(value(row, column)) |
                             static_cast<std::uint32_t>(bf16_bits(value(row, column + 1))) << 16);
          }
        }
      }
    }
  }
}

// A square matrix, or both halves of one of twice as many rows: a warp's tiles of the upper, then of the lower.
template <class Value>
void append_halves(std::vector<std::uint32_t>& packed, std::int64_t channels, int halves, const Value& value) {
  const int tiles = static_cast<int>(channels / 16) / warps_of(channels);
  append_fragments(
      packed, channels, halves * tiles,
      [&](int warp, int tile) { return tile / tiles * channels + (warp * tiles + tile % tiles) * std::int64_t{16}; },
      value);
}

}  // namespace

std::uint16_t bf16_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);  // not a number
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

std::vector<float> pack_general_matrices(const DecoderSizes& sizes, const DecoderWeights& weights) {
  const std::int64_t residual = sizes.residual_channels, skip = sizes.skip_channels;
  std::vector<float> packed;
  packed.reserve(static_cast<std::size_t>(GeneralPlan(sizes).matrix_count));
  append_turned(packed, weights.first_skip.weight, skip, residual, 1, 0);
  for (const DecoderWeights::Layer& layer : weights.layers) {
    for (std::int64_t k = 0; k < sizes.kernel_size; ++k) {
      append_turned(packed, layer.dilated.weight, 2 * residual, residual, sizes.kernel_size, k);
    }
    for (std::int64_t i = 0; i < residual; ++i) {
      for (std::int64_t o = 0; o < residual; ++o) packed.push_back(layer.residual.weight[o * residual + i]);
      for (std::int64_t o = 0; o < skip; ++o) packed.push_back(layer.skip.weight[o * residual + i]);
    }
  }
  append_turned(packed, weights.head.weight, skip, skip, 1, 0);
  append_turned(packed, weights.logits.weight, sizes.classes, skip, 1, 0);
  return packed;
}

std::vector<float> pack_general_vectors(const DecoderSizes& sizes, const DecoderWeights& weights) {
  std::vector<float> packed;
  for (std::int64_t k = 0; k < sizes.kernel_size; ++k) {
    append_turned(packed, weights.first.weight, sizes.residual_channels, 1, sizes.kernel_size, k);
  }
  append(packed, weights.first.bias, sizes.residual_channels);
  append(packed, weights.first_skip.bias, sizes.skip_channels);
  for (const DecoderWeights::Layer& layer : weights.layers) {
    append(packed, layer.residual.bias, sizes.residual_channels);
    append(packed, layer.skip.bias, sizes.skip_channels);
  }
  append(packed, weights.logits.bias, sizes.classes);
  return packed;
}

std::vector<std::uint32_t> pack_pipeline_layer(const DecoderSizes& sizes, const DecoderWeights::Layer& layer) {
  const std::int64_t channels = sizes.residual_channels;
  std::vector<std::uint32_t> packed;
  packed.reserve(static_cast<std::size_t>(4 * fragments_of_layer(channels)));
  const auto tap = [&](std::int64_t k) {
    append_halves(packed, channels, 2, [&](std::int64_t row, std::int64_t column) {
      return layer.dilated.weight[(row * channels + column) * 2 + k];
    });
  };
  const auto square = [&](const float* weight) {
    append_halves(packed, channels, 1,
                  [&](std::int64_t row, std::int64_t column) { return weight[row * channels + column]; });
  };
  tap(1);
  square(layer.residual.weight);
  tap(0);
  square(layer.skip.weight);
  return packed;
}

std::vector<std::uint32_t> pack_pipeline_head(const DecoderSizes& sizes, const DecoderWeights& weights) {
  const std::int64_t channels = sizes.skip_channels;
  std::vector<std::uint32_t> packed;
  packed.reserve(static_cast<std::size_t>(4 * fragments_of_head(channels)));
  const int logit_tiles = kMostClasses / 16 / warps_of(channels);
  append_fragments(
      packed, channels, logit_tiles, [&](int warp, int tile) { return (warp * logit_tiles + tile) * std::int64_t{16}; },
      [&](std::int64_t row, std::int64_t column) {
        return row < sizes.classes ? weights.logits.weight[row * channels + column] : 0.0f;
      });
  append_halves(packed, channels, 1,
                [&](std::int64_t row, std::int64_t column) { return weights.head.weight[row * channels + column]; });
  return packed;
}

std::vector<float> pack_pipeline_constants(const DecoderSizes& sizes, const DecoderWeights& weights) {
  const std::int64_t channels = sizes.residual_channels;
  std::vector<float> packed;
  for (std::int64_t k = 0; k < 2; ++k) append_turned(packed, weights.first.weight, channels, 1, 2, k);
  append(packed, weights.first.bias, channels);
  // first_skip (w_0 u' + w_1 u + b), and every bias of the skip sum. The matrix is rounded as all others are.
  for (std::int64_t part = 0; part < 3; ++part) {
    for (std::int64_t o = 0; o < channels; ++o) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < channels; ++i) {
        const std::uint32_t bits = static_cast<std::uint32_t>(bf16_bits(weights.first_skip.weight[o * channels + i]))
                                   << 16;
        float weight;
        std::memcpy(&weight, &bits, sizeof(weight));
        sum += static_cast<double>(weight) * packed[part * channels + i];
      }
      if (part == 2) {
        sum += weights.first_skip.bias[o];
        for (const DecoderWeights::Layer& layer : weights.layers) sum += layer.skip.bias[o];
      }
      packed.push_back(static_cast<float>(sum));
    }
  }
  append(packed, weights.logits.bias, sizes.classes);
  packed.resize(static_cast<std::size_t>(constants_of_head(channels)), 0.0f);
  return packed;
}

}  // namespace musicstar::cuda
