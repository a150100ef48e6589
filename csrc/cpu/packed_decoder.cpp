#include "cpu/packed_decoder.h"

#include <algorithm>

namespace musicstar::cpu {

namespace {

// [first half; second half] of 2R values, each padded: the sum of two biases where two convolutions meet.
const float* padded_halves(Arena& arena, const float* a, const float* b, std::int64_t half, std::int64_t stride) {
  float* copy = arena.floats(2 * stride);
  for (std::int64_t i = 0; i < half; ++i) {
    copy[i] = a[i] + b[i];
    copy[stride + i] = a[half + i] + b[half + i];
  }
  return copy;
}

}  // namespace

PackedDecoder::PackedDecoder(const DecoderSizes& sizes, const DecoderWeights& weights, const Kernels& kernels,
                             Precision precision)
    : kernels_(kernels), condition_channels_(sizes.condition_channels) {
  const Packer between(arena_, kernels, precision);
  const Packer at_ends(arena_, kernels, kernels.in(precision).for_ends);
  const Packer fp32(arena_, kernels, Precision::kFp32);
  const std::int64_t tile = kernels.tile;
  const std::int64_t residual = sizes.residual_channels, skip = sizes.skip_channels;
  const std::int64_t kernel_size = sizes.kernel_size, condition = sizes.condition_channels;
  const std::int64_t residual_stride = round_up(residual, tile), skip_stride = round_up(skip, tile);
  const std::int64_t classes_stride = round_up(sizes.classes, tile);
  plan_.kernel_size = kernel_size;
  plan_.pool = sizes.pool;
  plan_.classes = sizes.classes;
  plan_.depth = sizes.depth();
  plan_.residual_stride = residual_stride;
  plan_.skip_stride = skip_stride;
  plan_.classes_stride = classes_stride;

  float* first_taps = arena_.floats(kernel_size * residual_stride);
  for (std::int64_t r = 0; r < residual; ++r) {
    for (std::int64_t k = 0; k < kernel_size; ++k) {
      first_taps[k * residual_stride + r] = weights.first.weight[r * kernel_size + k];
    }
  }
  plan_.first_taps = first_taps;
  plan_.first_bias = arena_.copy(weights.first.bias, residual, residual_stride);
  plan_.first_skip = at_ends.pack(residual, skip_stride, {{weights.first_skip.weight, skip, 0, 1, 0, 0}});
  plan_.first_skip_bias = arena_.copy(weights.first_skip.bias, skip, skip_stride);

  // In three stretches: older taps, which a lane alone reads once in many samples; newest taps and what follows them,
  // which every sample reads one after the other; the condition's, which are read once a frame.
  layers_.resize(plan_.depth);
  taps_.resize(plan_.depth);
  const auto packer_of = [&](std::int64_t l) -> const Packer& { return l < kFirstLayers ? at_ends : between; };
  const auto pack_tap = [&](std::int64_t l, std::int64_t k) {
    const auto& w = weights.layers[l];
    taps_[l].push_back(packer_of(l).pack(residual, 2 * residual_stride,
                                         {{w.dilated.weight, residual, 0, kernel_size, k, 0},
                                          {w.dilated.weight, residual, residual, kernel_size, k, residual_stride}}));
  };
  for (std::int64_t l = 0; l < plan_.depth; ++l) {
    for (std::int64_t k = 0; k + 1 < kernel_size; ++k) pack_tap(l, k);
  }
  for (std::int64_t l = 0; l < plan_.depth; ++l) {
    const auto& w = weights.layers[l];
    DecoderLayer& layer = layers_[l];
    pack_tap(l, kernel_size - 1);
    layer.taps = taps_[l].data();
    layer.residual_and_skip =
        packer_of(l).pack(residual, residual_stride + skip_stride,
                          {{w.residual.weight, residual, 0, 1, 0, 0}, {w.skip.weight, skip, 0, 1, 0, residual_stride}});
    float* bias = arena_.floats(residual_stride + skip_stride);
    std::copy_n(w.residual.bias, residual, bias);
    std::copy_n(w.skip.bias, skip, bias + residual_stride);
    layer.residual_and_skip.bias = bias;
    layer.dilation = dilation_of_layer(l, sizes.layers);
    layer.ring_rows = (kernel_size - 1) * layer.dilation;
  }
  for (std::int64_t l = 0; l < plan_.depth; ++l) {
    const auto& w = weights.layers[l];
    conditions_.push_back(fp32.pack(
        condition, 2 * residual_stride,
        {{w.condition.weight, residual, 0, 1, 0, 0}, {w.condition.weight, residual, residual, 1, 0, residual_stride}}));
    condition_biases_.push_back(padded_halves(arena_, w.condition.bias, w.dilated.bias, residual, residual_stride));
  }
  plan_.layers = layers_.data();

  plan_.head = at_ends.pack(skip, skip_stride, {{weights.head.weight, skip, 0, 1, 0, 0}});
  head_condition_ = fp32.pack(condition, skip_stride, {{weights.head_condition.weight, skip, 0, 1, 0, 0}});
  float* head_bias = arena_.floats(skip_stride);
  for (std::int64_t s = 0; s < skip; ++s) head_bias[s] = weights.head.bias[s] + weights.head_condition.bias[s];
  head_bias_ = head_bias;
  plan_.logits = at_ends.pack(skip, classes_stride, {{weights.logits.weight, sizes.classes, 0, 1, 0, 0}});
  plan_.logits_bias = arena_.copy(weights.logits.bias, sizes.classes, classes_stride);
}

std::int64_t PackedDecoder::projected_floats(std::int64_t lanes) const {
  return lanes * (plan_.depth * 2 * plan_.residual_stride + plan_.skip_stride);
}

void PackedDecoder::project(const float* frames, std::int64_t first, std::int64_t count, std::int64_t lanes,
                            float* projected) const {
  const std::int64_t stride = 2 * plan_.residual_stride;
  for (std::int64_t l = 0; l < plan_.depth; ++l, projected += lanes * stride) {
    kernels_.product_fp32(conditions_[l], frames, condition_channels_, condition_biases_[l], 0,
                          projected + first * stride, stride, count);
  }
  kernels_.product_fp32(head_condition_, frames, condition_channels_, head_bias_, 0,
                        projected + first * plan_.skip_stride, plan_.skip_stride, count);
}

}  // namespace musicstar::cpu
