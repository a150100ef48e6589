// Residual stacks with random weights, inputs and result gradients, in single and in double precision, and what a
// forward and backward of them give.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "musicstar/stacks.h"
#include "random_networks.h"

namespace musicstar::tests {

// The same numbers as floats and as doubles.
struct Tensor {
  std::vector<float> single;
  std::vector<double> exact;

  Tensor() = default;
  // Uniform with the given variance's square root.
  Tensor(std::int64_t count, std::uint64_t seed, double deviation) : single(random_floats(count, seed)) {
    for (float& value : single) value *= static_cast<float>(deviation);
    exact.assign(single.begin(), single.end());
  }
  std::int64_t size() const { return static_cast<std::int64_t>(single.size()); }
};

struct RandomGatedStack {
  GatedResidualStackSizes sizes;
  std::vector<std::int64_t> dilations;
  Tensor x, condition, dilated, residual, residual_bias, skip, result_gradient;

  explicit RandomGatedStack(GatedResidualStackSizes of, std::vector<std::int64_t> with)
      : sizes(of), dilations(std::move(with)) {
    sizes.layers = static_cast<std::int64_t>(dilations.size());
    sizes.dilations = dilations.data();
    sizes.frames = std::max<std::int64_t>(1, (sizes.time + sizes.pool - 1) / sizes.pool);
    const std::int64_t B = sizes.batch, T = sizes.time, R = sizes.residual, S = sizes.skip, K = sizes.kernel_size,
                       L = sizes.layers;
    const double kept = 1.0 / std::sqrt(static_cast<double>(R));
    x = Tensor(B * T * R, 1, 1.0);
    condition = Tensor(L * B * sizes.frames * 2 * R, 2, 0.5);
    dilated = Tensor(L * 2 * R * R * K, 3, kept / std::sqrt(static_cast<double>(K)));
    residual = Tensor(L * R * R, 4, kept);
    residual_bias = Tensor(L * R, 5, 0.1);
    skip = Tensor(L * S * R, 6, kept);
    result_gradient = Tensor(B * T * S, 7, 1.0);
  }
  RandomGatedStack(const RandomGatedStack&) = delete;  // the sizes point into the dilations
  RandomGatedStack& operator=(const RandomGatedStack&) = delete;

  GatedResidualStackInputs<float> single() const {
    return {x.single.data(),        condition.single.data(),     dilated.single.data(),
            residual.single.data(), residual_bias.single.data(), skip.single.data()};
  }
  GatedResidualStackInputs<double> exact() const {
    return {x.exact.data(),        condition.exact.data(),     dilated.exact.data(),
            residual.exact.data(), residual_bias.exact.data(), skip.exact.data()};
  }
  std::int64_t result_size() const { return sizes.batch * sizes.time * sizes.skip; }
};

struct RandomGluStack {
  GluResidualStackSizes sizes;
  std::vector<std::int64_t> dilations;
  Tensor x, dilated, dilated_bias, pointwise, pointwise_bias, result_gradient;

  explicit RandomGluStack(GluResidualStackSizes of, std::vector<std::int64_t> with)
      : sizes(of), dilations(std::move(with)) {
    sizes.layers = static_cast<std::int64_t>(dilations.size());
    sizes.dilations = dilations.data();
    const std::int64_t B = sizes.batch, T = sizes.time, C = sizes.channels, K = sizes.kernel_size, L = sizes.layers,
                       P = sizes.pointwise_channels();
    const double kept = 1.0 / std::sqrt(static_cast<double>(C));
    x = Tensor(B * T * C, 1, 1.0);
    dilated = Tensor(L * C * C * K, 2, kept / std::sqrt(static_cast<double>(K)));
    dilated_bias = Tensor(L * C, 3, 0.1);
    pointwise = Tensor(L * P * C, 4, kept);
    pointwise_bias = Tensor(L * P, 5, 0.1);
    result_gradient = Tensor(B * T * C, 6, 1.0);
  }
  RandomGluStack(const RandomGluStack&) = delete;
  RandomGluStack& operator=(const RandomGluStack&) = delete;

  GluResidualStackInputs<float> single() const {
    return {x.single.data(), dilated.single.data(), dilated_bias.single.data(), pointwise.single.data(),
            pointwise_bias.single.data()};
  }
  GluResidualStackInputs<double> exact() const {
    return {x.exact.data(), dilated.exact.data(), dilated_bias.exact.data(), pointwise.exact.data(),
            pointwise_bias.exact.data()};
  }
  std::int64_t result_size() const { return sizes.batch * sizes.time * sizes.channels; }
};

// A result and all gradients, [0] the result, then the inputs' in their order.
template <class T>
using Outcome = std::vector<std::vector<T>>;

template <class T>
Outcome<T> outcome_of(const RandomGatedStack& stack) {
  const auto room = [](const Tensor& tensor) { return std::vector<T>(tensor.single.size()); };
  return {std::vector<T>(static_cast<std::size_t>(stack.result_size())),
          room(stack.x),
          room(stack.condition),
          room(stack.dilated),
          room(stack.residual),
          room(stack.residual_bias),
          room(stack.skip)};
}

template <class T>
GatedResidualStackGradients<T> gradients_of(const RandomGatedStack&, Outcome<T>& outcome) {
  return {outcome[1].data(), outcome[2].data(), outcome[3].data(),
          outcome[4].data(), outcome[5].data(), outcome[6].data()};
}

template <class T>
Outcome<T> outcome_of(const RandomGluStack& stack) {
  const auto room = [](const Tensor& tensor) { return std::vector<T>(tensor.single.size()); };
  return {std::vector<T>(static_cast<std::size_t>(stack.result_size())),
          room(stack.x),
          room(stack.dilated),
          room(stack.dilated_bias),
          room(stack.pointwise),
          room(stack.pointwise_bias)};
}

template <class T>
GluResidualStackGradients<T> gradients_of(const RandomGluStack&, Outcome<T>& outcome) {
  return {outcome[1].data(), outcome[2].data(), outcome[3].data(), outcome[4].data(), outcome[5].data()};
}

inline void reference_forward(const RandomGatedStack& stack, const GatedResidualStackInputs<double>& inputs,
                              double* result) {
  reference::gated_residual_stack_forward(stack.sizes, inputs, result);
}
inline void reference_forward(const RandomGluStack& stack, const GluResidualStackInputs<double>& inputs,
                              double* result) {
  reference::glu_residual_stack_forward(stack.sizes, inputs, result);
}

inline Outcome<double> reference_outcome(const RandomGatedStack& stack) {
  Outcome<double> outcome = outcome_of<double>(stack);
  reference::gated_residual_stack_forward(stack.sizes, stack.exact(), outcome[0].data());
  reference::gated_residual_stack_backward(stack.sizes, stack.exact(), stack.result_gradient.exact.data(),
                                           gradients_of(stack, outcome));
  return outcome;
}
inline Outcome<double> reference_outcome(const RandomGluStack& stack) {
  Outcome<double> outcome = outcome_of<double>(stack);
  reference::glu_residual_stack_forward(stack.sizes, stack.exact(), outcome[0].data());
  reference::glu_residual_stack_backward(stack.sizes, stack.exact(), stack.result_gradient.exact.data(),
                                         gradients_of(stack, outcome));
  return outcome;
}

// The largest difference, in units of the largest expected magnitude (at least 1e-3: a gradient may be all zero).
template <class T>
double relative_difference(const std::vector<T>& found, const std::vector<double>& expected) {
  double largest = 1e-3, difference = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double here = std::abs(static_cast<double>(found[i]) - expected[i]);
    difference = here <= difference ? difference : here;  // a NaN stays
  }
  return difference / largest;
}

}  // namespace musicstar::tests
