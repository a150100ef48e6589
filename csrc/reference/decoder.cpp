// The WaveNet decoder of Music-STAR section 3, with teacher forcing: whole-sequence convolutions.
//
//   x_0 = first * input,  s = first_skip x_0                    (causal, K taps; input: codes shifted by one sample)
//   h   = dilated * x_l + condition c                           (causal, K taps, 2R outputs)
//   z   = sigmoid(h[:R]) * tanh(h[R:])
//   x_{l+1} = x_l + residual z,   s = s + skip z
//   logits  = logits_1x1 ReLU(head ReLU(s) + head_condition c)
//
// The condition c holds one frame for `pool` samples.
#include <cmath>

#include "musicstar/reference.h"

namespace musicstar::reference {

namespace {

void add(std::vector<double>& x, const std::vector<double>& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

void rectify(std::vector<double>& x) {
  for (double& value : x) value = value > 0.0 ? value : 0.0;
}

}  // namespace

std::vector<double> decode_teacher_forced(const DecoderSizes& sizes, const DecoderWeights& weights,
                                          const std::uint8_t* codes, std::int64_t samples, const float* condition) {
  const std::int64_t residual = sizes.residual_channels;
  const std::int64_t skip = sizes.skip_channels;
  const std::int64_t newest = sizes.kernel_size - 1;

  std::vector<double> input(samples, 0.0);
  for (std::int64_t t = 1; t < samples; ++t) input[t] = input_of_code(codes[t - 1]);
  std::vector<double> repeated(samples * sizes.condition_channels);
  for (std::int64_t t = 0; t < samples; ++t) {
    for (std::int64_t c = 0; c < sizes.condition_channels; ++c) {
      repeated[t * sizes.condition_channels + c] = condition[t / sizes.pool * sizes.condition_channels + c];
    }
  }

  std::vector<double> x = convolve(input, 1, weights.first, residual, sizes.kernel_size, 1, newest);
  std::vector<double> s = convolve(x, residual, weights.first_skip, skip, 1, 1, 0);
  for (std::int64_t layer = 0; layer < sizes.depth(); ++layer) {
    const auto& w = weights.layers[layer];
    const std::int64_t dilation = dilation_of_layer(layer, sizes.layers);
    std::vector<double> h = convolve(x, residual, w.dilated, 2 * residual, sizes.kernel_size, dilation, newest);
    add(h, convolve(repeated, sizes.condition_channels, w.condition, 2 * residual, 1, 1, 0));
    std::vector<double> z(samples * residual);
    for (std::int64_t t = 0; t < samples; ++t) {
      for (std::int64_t r = 0; r < residual; ++r) {
        const double* row = &h[t * 2 * residual];
        z[t * residual + r] = 1.0 / (1.0 + std::exp(-row[r])) * std::tanh(row[residual + r]);
      }
    }
    add(x, convolve(z, residual, w.residual, residual, 1, 1, 0));
    add(s, convolve(z, residual, w.skip, skip, 1, 1, 0));
  }
  rectify(s);
  std::vector<double> head = convolve(s, skip, weights.head, skip, 1, 1, 0);
  add(head, convolve(repeated, sizes.condition_channels, weights.head_condition, skip, 1, 1, 0));
  rectify(head);
  return convolve(head, skip, weights.logits, sizes.classes, 1, 1, 0);
}

}  // namespace musicstar::reference
