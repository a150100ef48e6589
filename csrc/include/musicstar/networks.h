// Sizes and weights of the two networks, as views: the caller owns every float.
//
// Letters as everywhere: R residual, S skip, C code (condition) channels, K kernel, L layers, A classes.
// Convolution weights are laid out (out, in, k) as in the checkpoints, tap k-1 the newest for causal ones.
#pragma once

#include <cstdint>
#include <vector>

namespace musicstar {

// Dilation of layer i of a network whose blocks have `layers` layers: 1, 2, 4, ... and again for each block.
inline std::int64_t dilation_of_layer(std::int64_t i, std::int64_t layers) { return std::int64_t{1} << (i % layers); }

struct EncoderSizes {
  bool gated = true;  // Fig. 4b (1x1 to twice the channels, GLU) or Fig. 4a (plain 1x1)
  std::int64_t blocks = 4;
  std::int64_t layers = 14;  // per block
  std::int64_t channels = 128;
  std::int64_t kernel_size = 3;
  std::int64_t code_channels = 64;
  std::int64_t pool = 800;  // samples per code frame

  std::int64_t depth() const { return blocks * layers; }
  std::int64_t pointwise_channels() const { return gated ? 2 * channels : channels; }
  // A tap j of a layer with dilation d reads position t + (j - K/2) d: centred for odd K.
  std::int64_t left_context(std::int64_t dilation) const { return (kernel_size / 2) * dilation; }
  std::int64_t right_context(std::int64_t dilation) const { return (kernel_size - 1 - kernel_size / 2) * dilation; }
};

struct DecoderSizes {
  std::int64_t blocks = 4;
  std::int64_t layers = 10;  // per block
  std::int64_t residual_channels = 128;
  std::int64_t skip_channels = 128;
  std::int64_t kernel_size = 2;
  std::int64_t condition_channels = 64;
  std::int64_t classes = 256;
  std::int64_t pool = 800;  // samples that share one condition frame

  std::int64_t depth() const { return blocks * layers; }
};

struct Convolution {
  const float* weight = nullptr;  // (out, in, k)
  const float* bias = nullptr;    // (out)
};

struct EncoderWeights {
  struct Layer {
    Convolution dilated, pointwise;
  };
  Convolution start;
  std::vector<Layer> layers;
  Convolution code;
};

struct DecoderWeights {
  struct Layer {
    Convolution dilated, condition, residual, skip;
  };
  Convolution first, first_skip;
  std::vector<Layer> layers;
  Convolution head, head_condition, logits;
};

// The networks see a mu-law code as this number (FACTS of the published system: code / 255 - 0.5).
inline float input_of_code(std::uint8_t code) { return static_cast<float>(code) / 255.0f - 0.5f; }

// Generation starts as if this code had come before the first sample.
constexpr std::uint8_t kStartCode = 128;

// Classifier-free guidance (Ho and Salimans 2022): a decoder that has learnt to play without a code, too, draws from
//   guidance * heard + (1 - guidance) * unheard
// where `heard` are its logits given the code, and `unheard` those with the same past and a code of zeros. 1 is the
// plain decoder, more follows the code more closely. Between 0 and this:
constexpr float kMostGuidance = 10.0f;

}  // namespace musicstar
