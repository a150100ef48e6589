// The equations of a GLU (or plain) stack in double precision along given sides of its ReLUs.
//
// A gradient jumps where a unit's sum crosses zero. Whatever rounds, be it only the weights, puts a few units in a
// thousand on the other side, and after 56 layers the gradient is elsewhere by percents: a property of the network at
// that point, not of the arithmetic. The derivative of what a forward has computed is that along its own sides, and
// that is what a backward is held to here.
#pragma once

#include <cmath>
#include <vector>

#include "../random_stacks.h"

namespace musicstar::tests {

// `a` [L][B][T][C]: a unit is on where its a is above zero.
inline Outcome<double> reference_outcome_with_sides(const RandomGluStack& stack, const std::vector<float>& a) {
  const GluResidualStackSizes& sizes = stack.sizes;
  const std::int64_t L = sizes.layers, B = sizes.batch, T = sizes.time, C = sizes.channels, K = sizes.kernel_size,
                     P = sizes.pointwise_channels(), each = B * T * C;
  Outcome<double> outcome = outcome_of<double>(stack);
  const GluResidualStackInputs<double> inputs = stack.exact();
  // Calls visit(o, row of x) for every tap (b, t, o, j, k) that is inside its sequence.
  const auto for_taps = [&](std::int64_t layer, std::int64_t b, std::int64_t t, auto visit) {
    for (std::int64_t k = 0; k < K; ++k) {
      const std::int64_t from = t + sizes.offset(layer, k);
      if (from < 0 || from >= T) continue;
      for (std::int64_t o = 0; o < C; ++o) {
        for (std::int64_t j = 0; j < C; ++j) {
          visit(o, (b * T + from) * C + j, ((layer * C + o) * C + j) * K + k);
        }
      }
    }
  };

  std::vector<std::vector<double>> x(L + 1), hidden(L), p(L);
  x[0] = stack.x.exact;
  for (std::int64_t l = 0; l < L; ++l) {
    x[l + 1] = x[l];
    hidden[l].resize(each);
    p[l].resize(B * T * P);
    for (std::int64_t row = 0; row < B * T; ++row) {
      double* h = &hidden[l][row * C];
      for (std::int64_t o = 0; o < C; ++o) h[o] = inputs.dilated_bias[l * C + o];
      for_taps(l, row / T, row % T,
               [&](auto o, auto from, auto weight) { h[o] += inputs.dilated[weight] * x[l][from]; });
      for (std::int64_t o = 0; o < C; ++o) h[o] = a[l * each + row * C + o] > 0.0f ? h[o] : 0.0;
      for (std::int64_t o = 0; o < P; ++o) {
        double& sum = p[l][row * P + o];
        sum = inputs.pointwise_bias[l * P + o];
        for (std::int64_t j = 0; j < C; ++j) sum += inputs.pointwise[(l * P + o) * C + j] * h[j];
      }
      for (std::int64_t o = 0; o < C; ++o) {
        const double value = p[l][row * P + o];
        x[l + 1][row * C + o] += sizes.gated ? value / (1.0 + std::exp(-p[l][row * P + C + o])) : value;
      }
    }
  }
  outcome[0] = x[L];

  std::vector<double> dx = stack.result_gradient.exact, dp(P), du(C);
  for (std::int64_t l = L - 1; l >= 0; --l) {
    std::vector<double> dx_here = dx;
    for (std::int64_t row = 0; row < B * T; ++row) {
      for (std::int64_t o = 0; o < C; ++o) {
        const double gradient = dx[row * C + o], value = p[l][row * P + o];
        dp[o] = gradient;
        if (sizes.gated) {
          const double gate = 1.0 / (1.0 + std::exp(-p[l][row * P + C + o]));
          dp[o] = gradient * gate;
          dp[C + o] = gradient * value * gate * (1.0 - gate);
        }
      }
      std::fill(du.begin(), du.end(), 0.0);
      for (std::int64_t o = 0; o < P; ++o) {
        outcome[5][l * P + o] += dp[o];
        for (std::int64_t j = 0; j < C; ++j) {
          outcome[4][(l * P + o) * C + j] += dp[o] * hidden[l][row * C + j];
          du[j] += inputs.pointwise[(l * P + o) * C + j] * dp[o];
        }
      }
      for (std::int64_t o = 0; o < C; ++o) {
        du[o] = a[l * each + row * C + o] > 0.0f ? du[o] : 0.0;
        outcome[3][l * C + o] += du[o];
      }
      for_taps(l, row / T, row % T, [&](auto o, auto from, auto weight) {
        dx_here[from] += inputs.dilated[weight] * du[o];
        outcome[2][weight] += x[l][from] * du[o];
      });
    }
    dx = dx_here;
  }
  outcome[1] = dx;
  return outcome;
}

}  // namespace musicstar::tests
