#include "musicstar/reference.h"

namespace musicstar::reference {

std::vector<double> convolve(const std::vector<double>& x, std::int64_t in, const Convolution& convolution,
                             std::int64_t out, std::int64_t kernel_size, std::int64_t dilation, std::int64_t origin) {
  const std::int64_t samples = static_cast<std::int64_t>(x.size()) / in;
  std::vector<double> y(samples * out);
  for (std::int64_t t = 0; t < samples; ++t) {
    for (std::int64_t o = 0; o < out; ++o) {
      double sum = convolution.bias[o];
      for (std::int64_t k = 0; k < kernel_size; ++k) {
        const std::int64_t source = t + (k - origin) * dilation;
        if (source < 0 || source >= samples) continue;  // the zero padding
        for (std::int64_t i = 0; i < in; ++i) {
          sum += static_cast<double>(convolution.weight[(o * in + i) * kernel_size + k]) * x[source * in + i];
        }
      }
      y[t * out + o] = sum;
    }
  }
  return y;
}

}  // namespace musicstar::reference
