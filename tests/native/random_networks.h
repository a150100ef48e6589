// Networks with random weights, and their inputs. Everything is a function of a seed, so every machine tests the same.
#pragma once

#include <cstdint>
#include <vector>

#include "musicstar/networks.h"

namespace musicstar::tests {

// Of the weights of neighbouring inputs: as they come, all positive, or of opposite signs by pairs.
enum class Signs { kRandom, kAlike, kOpposed };

// Tensors that keep activations of order 1 through the depth of a network: uniform, with variance 1 / inputs.
class RandomTensors {
 public:
  explicit RandomTensors(std::uint64_t seed, Signs signs = Signs::kRandom) : seed_(seed), signs_(signs) {}
  Convolution convolution(std::int64_t out, std::int64_t in, std::int64_t kernel_size);

 private:
  float* tensor(std::int64_t count, float spread);

  std::uint64_t seed_;
  Signs signs_;
  std::vector<std::vector<float>> tensors_;
};

struct RandomEncoder {
  explicit RandomEncoder(const EncoderSizes& encoder_sizes, std::uint64_t seed = 1, Signs signs = Signs::kRandom);
  RandomEncoder(const RandomEncoder&) = delete;  // the weights point into the tensors
  RandomEncoder& operator=(const RandomEncoder&) = delete;

  EncoderSizes sizes;
  EncoderWeights weights;

 private:
  RandomTensors tensors_;
};

struct RandomDecoder {
  explicit RandomDecoder(const DecoderSizes& decoder_sizes, std::uint64_t seed = 2, Signs signs = Signs::kRandom);
  RandomDecoder(const RandomDecoder&) = delete;
  RandomDecoder& operator=(const RandomDecoder&) = delete;

  DecoderSizes sizes;
  DecoderWeights weights;

 private:
  RandomTensors tensors_;
};

// Small, and nothing in them is a multiple of a vector.
EncoderSizes small_encoder();
DecoderSizes small_decoder();

std::vector<std::uint8_t> random_codes(std::int64_t count, std::uint64_t seed, std::int64_t classes = 256);
std::vector<float> random_floats(std::int64_t count, std::uint64_t seed);    // uniform, variance 1
std::vector<float> random_uniforms(std::int64_t count, std::uint64_t seed);  // in [0, 1)

}  // namespace musicstar::tests
