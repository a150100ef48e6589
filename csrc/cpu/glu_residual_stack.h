// The encoders' residual stack in fp32, gated (Fig. 4b) or plain (Fig. 4a): what its forward and its backward share.
// musicstar/stacks.h has the equations.
//
// Organised as the decoder's. Forward keeps of every layer its input, the activations between its two products and,
// where gated, the two factors of the GLU: 4 C floats a sample, or 2 C.
#pragma once

#include "cpu/stack_dilated.h"
#include "cpu/stack_memory.h"
#include "cpu/stack_work.h"
#include "musicstar/stacks.h"

namespace musicstar::cpu::glu {

using Sizes = GluResidualStackSizes;
using Inputs = GluResidualStackInputs<float>;
using Gradients = GluResidualStackGradients<float>;
using Range = ThreadTeam::Range;

struct Plan {
  const Sizes& sizes;
  const StackKernels& kernels;
  std::int64_t rows;  // B T
  std::int64_t c;     // C, padded
  std::int64_t p;     // outputs of the 1x1, padded: 2 c or c
  Spans in_order;     // of rows one by one: as many as any layer's at least

  Plan(const Sizes& of, Isa isa)
      : sizes(of),
        kernels(stack_kernels_of(isa)),
        rows(of.batch * of.time),
        c(padded(of.channels, kernels.width)),
        p(of.gated ? 2 * c : c),
        in_order{of.batch, {of.time, 1, false}} {}

  Dilated dilated(std::int64_t layer) const {
    const std::int64_t dilation = sizes.dilations[layer];
    return {{-(sizes.kernel_size / 2) * dilation, dilation, sizes.kernel_size, sizes.time}, sizes.channels};
  }
  Spans spans(std::int64_t layer) const { return {sizes.batch, dilated(layer).groups}; }
  // Where an output of the 1x1 stands among padded ones; -1: padding.
  std::int64_t pointwise_channel(std::int64_t padded_channel) const {
    const std::int64_t half = padded_channel / c, channel = padded_channel % c;
    return channel < sizes.channels ? half * sizes.channels + channel : -1;
  }
};

struct Saved {
  float* x;            // [L][rows][c]
  float* activations;  // [L][rows][c]: after the ReLU; in the order of the layer's spans
  float* factors;      // [L][rows][2 c]: value and sigmoid(gate), where gated; in the order of the layer's spans

  Saved(const Plan& plan, Carver& carver)
      : x(carver.floats(plan.sizes.layers * plan.rows * plan.c)),
        activations(carver.floats(plan.sizes.layers * plan.rows * plan.c)),
        factors(plan.sizes.gated ? carver.floats(plan.sizes.layers * plan.rows * plan.p) : nullptr) {}
};

// Bytes of scratch.
std::int64_t forward_scratch(const Plan& plan, int threads, bool saves);
std::int64_t backward_scratch(const Plan& plan, int threads);

}  // namespace musicstar::cpu::glu
