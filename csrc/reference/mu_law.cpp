#include "musicstar/mu_law.h"

#include <algorithm>
#include <cmath>

namespace musicstar {

namespace {
constexpr double kMu = 255.0;
}

std::uint8_t mu_law_encode(float sample) {
  const double x = std::clamp(static_cast<double>(sample), -1.0, 1.0);
  const double companded = std::copysign(std::log1p(kMu * std::fabs(x)) / std::log1p(kMu), x);
  return static_cast<std::uint8_t>((companded + 1.0) / 2.0 * kMu);
}

float mu_law_decode(std::uint8_t code) {
  const double y = (static_cast<double>(code) - 128.0) / 128.0;
  return static_cast<float>(std::copysign((std::pow(1.0 + kMu, std::fabs(y)) - 1.0) / kMu, y));
}

}  // namespace musicstar
