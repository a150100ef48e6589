// Music-STAR, Fig. 4: a non-causal WaveNet over the whole signal, then one code per `pool` samples.
//
//   x_0 = start * input                                         (K taps, centred)
//   h   = ReLU(dilated * x_l)
//   x_{l+1} = x_l + pointwise h                                 Fig. 4a, universal
//   x_{l+1} = x_l + (a * sigmoid(b)),  [a; b] = pointwise h     Fig. 4b, Music-STAR (GLU)
//   code = mean over each `pool` samples of (code_1x1 x_L)
#include <cmath>

#include "musicstar/reference.h"

namespace musicstar::reference {

std::vector<double> encode(const EncoderSizes& sizes, const EncoderWeights& weights, const std::uint8_t* codes,
                           std::int64_t samples) {
  const std::int64_t channels = sizes.channels;
  const std::int64_t origin = sizes.kernel_size / 2;

  std::vector<double> input(samples);
  for (std::int64_t t = 0; t < samples; ++t) input[t] = input_of_code(codes[t]);
  std::vector<double> x = convolve(input, 1, weights.start, channels, sizes.kernel_size, 1, origin);

  for (std::int64_t layer = 0; layer < sizes.depth(); ++layer) {
    const auto& w = weights.layers[layer];
    const std::int64_t dilation = dilation_of_layer(layer, sizes.layers);
    std::vector<double> h = convolve(x, channels, w.dilated, channels, sizes.kernel_size, dilation, origin);
    for (double& value : h) value = value > 0.0 ? value : 0.0;
    const std::int64_t outputs = sizes.pointwise_channels();
    const std::vector<double> y = convolve(h, channels, w.pointwise, outputs, 1, 1, 0);
    for (std::int64_t t = 0; t < samples; ++t) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const double* row = &y[t * outputs];
        const double gate = sizes.gated ? 1.0 / (1.0 + std::exp(-row[channels + c])) : 1.0;
        x[t * channels + c] += row[c] * gate;
      }
    }
  }

  const std::vector<double> projected = convolve(x, channels, weights.code, sizes.code_channels, 1, 1, 0);
  const std::int64_t frames = samples / sizes.pool;
  std::vector<double> code(frames * sizes.code_channels, 0.0);
  for (std::int64_t t = 0; t < frames * sizes.pool; ++t) {
    for (std::int64_t c = 0; c < sizes.code_channels; ++c) {
      code[t / sizes.pool * sizes.code_channels + c] +=
          projected[t * sizes.code_channels + c] / static_cast<double>(sizes.pool);
    }
  }
  return code;
}

}  // namespace musicstar::reference
