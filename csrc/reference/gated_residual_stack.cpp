// The decoder's residual stack and its gradients, in the order of the equations of musicstar/stacks.h.
#include <cmath>
#include <vector>

#include "musicstar/stacks.h"

namespace musicstar::reference {

namespace {

using Sizes = GatedResidualStackSizes;
using Inputs = GatedResidualStackInputs<double>;
using Sequence = std::vector<double>;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// What a forward computes in every layer, of one sequence of the batch.
struct Activations {
  std::vector<Sequence> x;             // [L] of [T][R]: the layer's input
  std::vector<Sequence> gate, filter;  // [L] of [T][R]: sigmoid and tanh of the halves of h
};

Activations forward_of(const Sizes& sizes, const Inputs& inputs, std::int64_t b, double* result) {
  const std::int64_t T = sizes.time, R = sizes.residual, S = sizes.skip, K = sizes.kernel_size;
  Activations activations;
  Sequence x(inputs.x + b * T * R, inputs.x + (b + 1) * T * R);
  for (std::int64_t l = 0; l < sizes.layers; ++l) {
    const double* dilated = inputs.dilated + l * 2 * R * R * K;
    Sequence gate(T * R), filter(T * R), next = x;
    for (std::int64_t t = 0; t < T; ++t) {
      const double* condition = inputs.condition + ((l * sizes.batch + b) * sizes.frames + t / sizes.pool) * 2 * R;
      for (std::int64_t o = 0; o < 2 * R; ++o) {
        double h = condition[o];
        for (std::int64_t k = 0; k < K; ++k) {
          const std::int64_t from = t - sizes.delay(l, k);
          if (from < 0) continue;
          for (std::int64_t i = 0; i < R; ++i) h += dilated[(o * R + i) * K + k] * x[from * R + i];
        }
        (o < R ? gate[t * R + o] : filter[t * R + o - R]) = o < R ? sigmoid(h) : std::tanh(h);
      }
      const auto z = [&](std::int64_t i) { return gate[t * R + i] * filter[t * R + i]; };
      for (std::int64_t o = 0; o < R; ++o) {
        next[t * R + o] += inputs.residual_bias[l * R + o];
        for (std::int64_t i = 0; i < R; ++i) next[t * R + o] += inputs.residual[(l * R + o) * R + i] * z(i);
      }
      for (std::int64_t o = 0; o < S && result != nullptr; ++o) {
        for (std::int64_t i = 0; i < R; ++i) {
          result[(b * T + t) * S + o] += inputs.skip[(l * S + o) * R + i] * z(i);
        }
      }
    }
    activations.x.push_back(std::move(x));
    activations.gate.push_back(std::move(gate));
    activations.filter.push_back(std::move(filter));
    x = std::move(next);
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

void gated_residual_stack_forward(const Sizes& sizes, const Inputs& inputs, double* result) {
  clear(result, sizes.batch * sizes.time * sizes.skip);
  for (std::int64_t b = 0; b < sizes.batch; ++b) forward_of(sizes, inputs, b, result);
}

void gated_residual_stack_backward(const Sizes& sizes, const Inputs& inputs, const double* result_gradient,
                                   const GatedResidualStackGradients<double>& gradients) {
  const std::int64_t T = sizes.time, R = sizes.residual, S = sizes.skip, K = sizes.kernel_size, L = sizes.layers;
  clear(gradients.x, sizes.batch * T * R);
  clear(gradients.condition, L * sizes.batch * sizes.frames * 2 * R);
  clear(gradients.dilated, L * 2 * R * R * K);
  clear(gradients.residual, L * R * R);
  clear(gradients.residual_bias, L * R);
  clear(gradients.skip, L * S * R);
  for (std::int64_t b = 0; b < sizes.batch; ++b) {
    const Activations activations = forward_of(sizes, inputs, b, nullptr);
    Sequence dx(T * R, 0.0);  // of the layer's output: nobody reads the last one's
    for (std::int64_t l = L - 1; l >= 0; --l) {
      const Sequence &x = activations.x[l], &gate = activations.gate[l], &filter = activations.filter[l];
      Sequence before = dx;  // of the layer's input: the residual path
      for (std::int64_t t = 0; t < T; ++t) {
        const double* ds = result_gradient + (b * T + t) * S;
        for (std::int64_t o = 0; o < R; ++o) add(gradients.residual_bias, l * R + o, dx[t * R + o]);
        for (std::int64_t i = 0; i < R; ++i) {
          const double g = gate[t * R + i], f = filter[t * R + i];
          double dz = 0.0;
          for (std::int64_t o = 0; o < R; ++o) {
            dz += inputs.residual[(l * R + o) * R + i] * dx[t * R + o];
            add(gradients.residual, (l * R + o) * R + i, dx[t * R + o] * g * f);
          }
          for (std::int64_t o = 0; o < S; ++o) {
            dz += inputs.skip[(l * S + o) * R + i] * ds[o];
            add(gradients.skip, (l * S + o) * R + i, ds[o] * g * f);
          }
          const double dh[2] = {dz * f * g * (1.0 - g), dz * g * (1.0 - f * f)};
          for (const std::int64_t half : {0, 1}) {
            const std::int64_t row = half * R + i;
            add(gradients.condition, ((l * sizes.batch + b) * sizes.frames + t / sizes.pool) * 2 * R + row, dh[half]);
            for (std::int64_t k = 0; k < K; ++k) {
              const std::int64_t from = t - sizes.delay(l, k);
              if (from < 0) continue;
              for (std::int64_t j = 0; j < R; ++j) {
                const std::int64_t weight = ((l * 2 * R + row) * R + j) * K + k;
                add(gradients.dilated, weight, dh[half] * x[from * R + j]);
                before[from * R + j] += inputs.dilated[weight] * dh[half];
              }
            }
          }
        }
      }
      dx = std::move(before);
    }
    for (std::int64_t i = 0; i < T * R; ++i) add(gradients.x, b * T * R + i, dx[i]);
  }
}

}  // namespace musicstar::reference
