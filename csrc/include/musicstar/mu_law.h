// 8-bit mu-law companding as the published system does it (mu = 255). Encoder and decoder are slightly asymmetric, and
// checkpoints expect exactly that:
//
//   F(x)   = sign(x) ln(1 + mu |x|) / ln(1 + mu)          code = trunc((F(x) + 1) / 2 * 255)
//   y      = (code - 128) / 128                           x    = sign(y) ((1 + mu)^|y| - 1) / mu
#pragma once

#include <cstdint>

namespace musicstar {

std::uint8_t mu_law_encode(float sample);  // samples outside -1..1 are clipped
float mu_law_decode(std::uint8_t code);

}  // namespace musicstar
