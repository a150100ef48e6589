// The oracle: every network once more, scalar, in double precision, in the order of the equations. It is slow on
// purpose; it is what the fast paths, the torch modules and the GPU are tested against, and where to read what they
// compute.
#pragma once

#include <cstdint>
#include <vector>

#include "musicstar/networks.h"

namespace musicstar::reference {

// Whole-sequence convolution: y[t][o] = bias[o] + sum_{i,k} weight[o][i][k] x[t + offset(k)][i], zero outside x, where
// offset(k) = (k - origin) * dilation. x is [T][in], the result [T][out].
std::vector<double> convolve(const std::vector<double>& x, std::int64_t in, const Convolution& convolution,
                             std::int64_t out, std::int64_t kernel_size, std::int64_t dilation, std::int64_t origin);

// The index of the code that a uniform number picks: the first whose cumulative probability under softmax(logits /
// temperature) exceeds it. Temperature 0 takes the most likely code, the lowest one among equals.
std::int64_t draw(const double* logits, std::int64_t classes, double uniform, double temperature);

// Logits that follow the code more (guidance above 1) or less than `heard` does: guidance * heard + (1 - guidance) *
// unheard, which is unheard + guidance * (heard - unheard), exactly `heard` for 1 and exactly `unheard` for 0.
std::vector<double> guided(const std::vector<double>& heard, const std::vector<double>& unheard, double guidance);

// Codes [T] -> code frames [F][C], F = T / pool (a last partial frame is dropped).
std::vector<double> encode(const EncoderSizes& sizes, const EncoderWeights& weights, const std::uint8_t* codes,
                           std::int64_t samples);

// Teacher forcing: logits [T][A] given the true codes [T] and condition [ceil(T / pool)][C]. The input is the codes
// shifted by one sample, zero before the first.
std::vector<double> decode_teacher_forced(const DecoderSizes& sizes, const DecoderWeights& weights,
                                          const std::uint8_t* codes, std::int64_t samples, const float* condition);

// One lane, one sample at a time. Keeps the whole past of every layer, which a reference may do.
class Sampler {
 public:
  Sampler(const DecoderSizes& sizes, DecoderWeights weights);

  void reset(float first_input);
  // Logits [A] of the next sample, given its condition frame [C].
  std::vector<double> next_logits(const float* condition);
  // What the next sample turned out to be.
  void feed(std::uint8_t code);
  std::int64_t position() const { return position_; }

 private:
  DecoderSizes sizes_;
  DecoderWeights weights_;
  std::int64_t position_ = 0;
  std::vector<double> inputs_;                // [K]: the newest inputs, oldest first
  std::vector<std::vector<double>> history_;  // per layer: every input so far, [position][R]
};

// The same lane heard and unheard: two samplers with one past, the second one's condition zero in every frame.
class GuidedSampler {
 public:
  GuidedSampler(const DecoderSizes& sizes, const DecoderWeights& weights);

  void reset(float first_input);
  std::vector<double> next_logits(const float* condition, double guidance);
  void feed(std::uint8_t code);
  std::int64_t position() const { return heard_.position(); }

 private:
  Sampler heard_, unheard_;
  std::vector<float> no_code_;  // [C] zeros
};

}  // namespace musicstar::reference
