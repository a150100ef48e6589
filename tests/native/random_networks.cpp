#include "random_networks.h"

#include <cmath>

#include "musicstar/philox.h"

namespace musicstar::tests {

float* RandomTensors::tensor(std::int64_t count, float spread) {
  std::vector<float> values(count);
  const std::uint64_t lane = tensors_.size();
  for (std::int64_t i = 0; i < count; ++i) values[i] = spread * (2.0f * philox_uniform(seed_, lane, i) - 1.0f);
  tensors_.push_back(std::move(values));
  return tensors_.back().data();
}

Convolution RandomTensors::convolution(std::int64_t out, std::int64_t in, std::int64_t kernel_size) {
  Convolution convolution;
  float* weight = tensor(out * in * kernel_size, std::sqrt(3.0f / static_cast<float>(in * kernel_size)));
  convolution.weight = weight;
  for (std::int64_t i = 0; signs_ != Signs::kRandom && i < out * in * kernel_size; ++i) {
    const bool second_of_pair = i / kernel_size % in % 2 == 1;
    weight[i] = std::copysign(weight[i], signs_ == Signs::kOpposed && second_of_pair ? -1.0f : 1.0f);
  }
  convolution.bias = tensor(out, 0.1f);
  return convolution;
}

RandomEncoder::RandomEncoder(const EncoderSizes& encoder_sizes, std::uint64_t seed, Signs signs)
    : sizes(encoder_sizes), tensors_(seed, signs) {
  weights.start = tensors_.convolution(sizes.channels, 1, sizes.kernel_size);
  for (std::int64_t l = 0; l < sizes.depth(); ++l) {
    EncoderWeights::Layer layer;
    layer.dilated = tensors_.convolution(sizes.channels, sizes.channels, sizes.kernel_size);
    layer.pointwise = tensors_.convolution(sizes.pointwise_channels(), sizes.channels, 1);
    weights.layers.push_back(layer);
  }
  weights.code = tensors_.convolution(sizes.code_channels, sizes.channels, 1);
}

RandomDecoder::RandomDecoder(const DecoderSizes& decoder_sizes, std::uint64_t seed, Signs signs)
    : sizes(decoder_sizes), tensors_(seed, signs) {
  const std::int64_t residual = sizes.residual_channels, skip = sizes.skip_channels;
  weights.first = tensors_.convolution(residual, 1, sizes.kernel_size);
  weights.first_skip = tensors_.convolution(skip, residual, 1);
  for (std::int64_t l = 0; l < sizes.depth(); ++l) {
    DecoderWeights::Layer layer;
    layer.dilated = tensors_.convolution(2 * residual, residual, sizes.kernel_size);
    layer.condition = tensors_.convolution(2 * residual, sizes.condition_channels, 1);
    layer.residual = tensors_.convolution(residual, residual, 1);
    layer.skip = tensors_.convolution(skip, residual, 1);
    weights.layers.push_back(layer);
  }
  weights.head = tensors_.convolution(skip, skip, 1);
  weights.head_condition = tensors_.convolution(skip, sizes.condition_channels, 1);
  weights.logits = tensors_.convolution(sizes.classes, skip, 1);
}

EncoderSizes small_encoder() {
  EncoderSizes sizes;
  sizes.blocks = 2;
  sizes.layers = 4;
  sizes.channels = 21;
  sizes.code_channels = 7;
  sizes.pool = 13;
  return sizes;
}

DecoderSizes small_decoder() {
  DecoderSizes sizes;
  sizes.blocks = 2;
  sizes.layers = 4;
  sizes.residual_channels = 21;
  sizes.skip_channels = 35;
  sizes.condition_channels = 5;
  sizes.classes = 101;
  sizes.pool = 37;
  return sizes;
}

std::vector<std::uint8_t> random_codes(std::int64_t count, std::uint64_t seed, std::int64_t classes) {
  std::vector<std::uint8_t> codes(count);
  for (std::int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::uint8_t>(philox_uniform(seed, 1, i) * static_cast<float>(classes));
  }
  return codes;
}

std::vector<float> random_floats(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  for (std::int64_t i = 0; i < count; ++i) values[i] = std::sqrt(12.0f) * (philox_uniform(seed, 2, i) - 0.5f);
  return values;
}

std::vector<float> random_uniforms(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  for (std::int64_t i = 0; i < count; ++i) values[i] = philox_uniform(seed, 3, i);
  return values;
}

}  // namespace musicstar::tests
