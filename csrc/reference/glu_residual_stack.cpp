// The encoders' residual stack and its gradients, in the order of the equations of musicstar/stacks.h.
#include <cmath>
#include <vector>

#include "musicstar/stacks.h"

namespace musicstar::reference {

namespace {

using Sizes = GluResidualStackSizes;
using Inputs = GluResidualStackInputs<double>;
using Sequence = std::vector<double>;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// What a forward computes in every layer, of one sequence of the batch.
struct Activations {
  std::vector<Sequence> x;  // [L + 1] of [T][C]: the layers' inputs, and the result
  std::vector<Sequence> a;  // [L] of [T][C]: after the ReLU
  std::vector<Sequence> p;  // [L] of [T][2C or C]: after the 1x1
};

Activations forward_of(const Sizes& sizes, const Inputs& inputs, std::int64_t b) {
  const std::int64_t T = sizes.time, C = sizes.channels, K = sizes.kernel_size, P = sizes.pointwise_channels();
  Activations activations;
  activations.x.emplace_back(inputs.x + b * T * C, inputs.x + (b + 1) * T * C);
  for (std::int64_t l = 0; l < sizes.layers; ++l) {
    const Sequence& x = activations.x.back();
    Sequence a(T * C), p(T * P), next = x;
    for (std::int64_t t = 0; t < T; ++t) {
      for (std::int64_t o = 0; o < C; ++o) {
        double sum = inputs.dilated_bias[l * C + o];
        for (std::int64_t k = 0; k < K; ++k) {
          const std::int64_t from = t + sizes.offset(l, k);
          if (from < 0 || from >= T) continue;
          for (std::int64_t i = 0; i < C; ++i) sum += inputs.dilated[((l * C + o) * C + i) * K + k] * x[from * C + i];
        }
        a[t * C + o] = sum > 0.0 ? sum : 0.0;
      }
      for (std::int64_t o = 0; o < P; ++o) {
        p[t * P + o] = inputs.pointwise_bias[l * P + o];
        for (std::int64_t i = 0; i < C; ++i) p[t * P + o] += inputs.pointwise[(l * P + o) * C + i] * a[t * C + i];
      }
      for (std::int64_t c = 0; c < C; ++c) {
        next[t * C + c] += p[t * P + c] * (sizes.gated ? sigmoid(p[t * P + C + c]) : 1.0);
      }
    }
    activations.x.push_back(std::move(next));
    activations.a.push_back(std::move(a));
    activations.p.push_back(std::move(p));
  }
  return activations;
}

void clear(double* at, std::int64_t count) {
  for (std::int64_t i = 0; i < count && at != nullptr; ++i) at[i] = 0.0;
}

void add(double* at, std::int64_t index, double value) {
  if (at != nullptr) at[index] += value;
}

}  // namespace

void glu_residual_stack_forward(const Sizes& sizes, const Inputs& inputs, double* result) {
  for (std::int64_t b = 0; b < sizes.batch; ++b) {
    const Activations activations = forward_of(sizes, inputs, b);
    for (const double value : activations.x.back()) *result++ = value;
  }
}

void glu_residual_stack_backward(const Sizes& sizes, const Inputs& inputs, const double* result_gradient,
                                 const GluResidualStackGradients<double>& gradients) {
  const std::int64_t T = sizes.time, C = sizes.channels, K = sizes.kernel_size, P = sizes.pointwise_channels();
  clear(gradients.x, sizes.batch * T * C);
  clear(gradients.dilated, sizes.layers * C * C * K);
  clear(gradients.dilated_bias, sizes.layers * C);
  clear(gradients.pointwise, sizes.layers * P * C);
  clear(gradients.pointwise_bias, sizes.layers * P);
  for (std::int64_t b = 0; b < sizes.batch; ++b) {
    const Activations activations = forward_of(sizes, inputs, b);
    Sequence dx(result_gradient + b * T * C, result_gradient + (b + 1) * T * C);  // of the layer's output
    for (std::int64_t l = sizes.layers - 1; l >= 0; --l) {
      const Sequence &x = activations.x[l], &a = activations.a[l], &p = activations.p[l];
      Sequence before = dx;  // of the layer's input: the residual path
      for (std::int64_t t = 0; t < T; ++t) {
        Sequence dp(P), da(C, 0.0);
        for (std::int64_t c = 0; c < C; ++c) {
          const double s = sizes.gated ? sigmoid(p[t * P + C + c]) : 1.0;
          dp[c] = dx[t * C + c] * s;
          if (sizes.gated) dp[C + c] = dx[t * C + c] * p[t * P + c] * s * (1.0 - s);
        }
        for (std::int64_t o = 0; o < P; ++o) {
          add(gradients.pointwise_bias, l * P + o, dp[o]);
          for (std::int64_t i = 0; i < C; ++i) {
            add(gradients.pointwise, (l * P + o) * C + i, dp[o] * a[t * C + i]);
            da[i] += inputs.pointwise[(l * P + o) * C + i] * dp[o];
          }
        }
        for (std::int64_t o = 0; o < C; ++o) {
          if (!(a[t * C + o] > 0.0)) continue;
          add(gradients.dilated_bias, l * C + o, da[o]);
          for (std::int64_t k = 0; k < K; ++k) {
            const std::int64_t from = t + sizes.offset(l, k);
            if (from < 0 || from >= T) continue;
            for (std::int64_t i = 0; i < C; ++i) {
              const std::int64_t weight = ((l * C + o) * C + i) * K + k;
              add(gradients.dilated, weight, da[o] * x[from * C + i]);
              before[from * C + i] += inputs.dilated[weight] * da[o];
            }
          }
        }
      }
      dx = std::move(before);
    }
    for (std::int64_t i = 0; i < T * C; ++i) add(gradients.x, b * T * C + i, dx[i]);
  }
}

}  // namespace musicstar::reference
