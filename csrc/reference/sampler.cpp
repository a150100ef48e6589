// The decoder's equations (decoder.cpp) for one new sample at a time, each layer reading its own past.
#include <cmath>
#include <utility>

#include "musicstar/reference.h"

namespace musicstar::reference {

namespace {

// y[o] += bias[o] + sum_i weight[o][i][tap] x[i]; the bias only with `with_bias`.
void accumulate(std::vector<double>& y, const Convolution& convolution, const double* x, std::int64_t in,
                std::int64_t kernel_size, std::int64_t tap, bool with_bias) {
  for (std::size_t o = 0; o < y.size(); ++o) {
    double sum = with_bias ? convolution.bias[o] : 0.0;
    for (std::int64_t i = 0; i < in; ++i) {
      sum +=
          static_cast<double>(convolution.weight[(static_cast<std::int64_t>(o) * in + i) * kernel_size + tap]) * x[i];
    }
    y[o] += sum;
  }
}

}  // namespace

std::int64_t draw(const double* logits, std::int64_t classes, double uniform, double temperature) {
  std::int64_t likeliest = 0;
  for (std::int64_t a = 1; a < classes; ++a) {
    if (logits[a] > logits[likeliest]) likeliest = a;
  }
  if (temperature == 0.0) return likeliest;
  std::vector<double> cumulative(classes);
  double total = 0.0;
  for (std::int64_t a = 0; a < classes; ++a) {
    total += std::exp((logits[a] - logits[likeliest]) / temperature);
    cumulative[a] = total;
  }
  for (std::int64_t a = 0; a < classes; ++a) {
    if (cumulative[a] > uniform * total) return a;
  }
  return classes - 1;
}

std::vector<double> guided(const std::vector<double>& heard, const std::vector<double>& unheard, double guidance) {
  std::vector<double> logits(heard.size());
  for (std::size_t a = 0; a < logits.size(); ++a) logits[a] = guidance * heard[a] + (1.0 - guidance) * unheard[a];
  return logits;
}

Sampler::Sampler(const DecoderSizes& sizes, DecoderWeights weights) : sizes_(sizes), weights_(std::move(weights)) {
  reset(input_of_code(kStartCode));
}

void Sampler::reset(float first_input) {
  position_ = 0;
  inputs_.assign(sizes_.kernel_size, 0.0);
  inputs_.back() = first_input;
  history_.assign(sizes_.depth(), {});
}

std::vector<double> Sampler::next_logits(const float* condition) {
  const std::int64_t residual = sizes_.residual_channels;
  const std::int64_t kernel_size = sizes_.kernel_size;
  const std::vector<double> c(condition, condition + sizes_.condition_channels);

  std::vector<double> x(residual, 0.0);
  for (std::int64_t k = 0; k < kernel_size; ++k) accumulate(x, weights_.first, &inputs_[k], 1, kernel_size, k, k == 0);
  std::vector<double> s(sizes_.skip_channels, 0.0);
  accumulate(s, weights_.first_skip, x.data(), residual, 1, 0, true);

  for (std::int64_t layer = 0; layer < sizes_.depth(); ++layer) {
    const auto& w = weights_.layers[layer];
    std::vector<double>& past = history_[layer];
    past.resize(position_ * residual);  // drops what an unfed call has left
    past.insert(past.end(), x.begin(), x.end());
    std::vector<double> h(2 * residual, 0.0);
    accumulate(h, w.condition, c.data(), sizes_.condition_channels, 1, 0, true);
    for (std::int64_t k = 0; k < kernel_size; ++k) {
      const std::int64_t source = position_ - (kernel_size - 1 - k) * dilation_of_layer(layer, sizes_.layers);
      const std::vector<double> before_the_start(residual, 0.0);
      const double* tap = source < 0 ? before_the_start.data() : &past[source * residual];
      accumulate(h, w.dilated, tap, residual, kernel_size, k, k == 0);
    }
    std::vector<double> z(residual);
    for (std::int64_t r = 0; r < residual; ++r) z[r] = 1.0 / (1.0 + std::exp(-h[r])) * std::tanh(h[residual + r]);
    accumulate(x, w.residual, z.data(), residual, 1, 0, true);
    accumulate(s, w.skip, z.data(), residual, 1, 0, true);
  }

  for (double& value : s) value = value > 0.0 ? value : 0.0;
  std::vector<double> head(sizes_.skip_channels, 0.0);
  accumulate(head, weights_.head, s.data(), sizes_.skip_channels, 1, 0, true);
  accumulate(head, weights_.head_condition, c.data(), sizes_.condition_channels, 1, 0, true);
  for (double& value : head) value = value > 0.0 ? value : 0.0;
  std::vector<double> logits(sizes_.classes, 0.0);
  accumulate(logits, weights_.logits, head.data(), sizes_.skip_channels, 1, 0, true);
  return logits;
}

void Sampler::feed(std::uint8_t code) {
  inputs_.erase(inputs_.begin());
  inputs_.push_back(input_of_code(code));
  ++position_;
}

GuidedSampler::GuidedSampler(const DecoderSizes& sizes, const DecoderWeights& weights)
    : heard_(sizes, weights), unheard_(sizes, weights), no_code_(sizes.condition_channels, 0.0f) {}

void GuidedSampler::reset(float first_input) {
  heard_.reset(first_input);
  unheard_.reset(first_input);
}

std::vector<double> GuidedSampler::next_logits(const float* condition, double guidance) {
  return guided(heard_.next_logits(condition), unheard_.next_logits(no_code_.data()), guidance);
}

void GuidedSampler::feed(std::uint8_t code) {
  heard_.feed(code);
  unheard_.feed(code);
}

}  // namespace musicstar::reference
