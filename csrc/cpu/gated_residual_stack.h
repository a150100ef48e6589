// The decoder's residual stack in fp32: what its forward and its backward share. musicstar/stacks.h has the equations.
//
// Layer by layer, each over all rows: a layer's weights are read once a span, its activations once a layer. Forward
// keeps of every layer its input x and the two factors of z, 3 R floats a sample; a backward that had only x would do a
// third more products.
#pragma once

#include "cpu/stack_dilated.h"
#include "cpu/stack_memory.h"
#include "cpu/stack_work.h"
#include "musicstar/stacks.h"

namespace musicstar::cpu::gated {

using Sizes = GatedResidualStackSizes;
using Inputs = GatedResidualStackInputs<float>;
using Gradients = GatedResidualStackGradients<float>;
using Range = ThreadTeam::Range;

// Padded sizes, and where everything lies that outlives a call.
struct Plan {
  const Sizes& sizes;
  const StackKernels& kernels;
  std::int64_t rows;  // B T
  std::int64_t r, s;  // R and S, padded
  Spans in_order;     // of rows one by one: as many as any layer's at least

  Plan(const Sizes& of, Isa isa)
      : sizes(of),
        kernels(stack_kernels_of(isa)),
        rows(of.batch * of.time),
        r(padded(of.residual, kernels.width)),
        s(padded(of.skip, kernels.width)),
        in_order{of.batch, {of.time, 1, false}} {}

  Dilated dilated(std::int64_t layer) const {
    return {{-sizes.delay(layer, 0), sizes.dilations[layer], sizes.kernel_size, sizes.time}, sizes.residual};
  }
  Spans spans(std::int64_t layer) const { return {sizes.batch, dilated(layer).groups}; }
  // Pieces that spans and frames together cut the first, or the second, rows of a sequence's groups into, at most.
  std::int64_t pieces() const { return in_order.in_sequence() + sizes.frames; }
  // Where the two halves of 2 R channels stand among padded ones; -1: padding.
  std::int64_t half_channel(std::int64_t padded_channel) const {
    const std::int64_t half = padded_channel / r, c = padded_channel % r;
    return c < sizes.residual ? half * sizes.residual + c : -1;
  }
};

struct Saved {
  float* x;      // [L][rows][r]: the input of every layer
  float* gates;  // [L][rows][2 r]: sigmoid and tanh, in the order of the layer's spans

  Saved(const Plan& plan, Carver& carver)
      : x(carver.floats(plan.sizes.layers * plan.rows * plan.r)),
        gates(carver.floats(plan.sizes.layers * plan.rows * 2 * plan.r)) {}
};

// Bytes of scratch.
std::int64_t forward_scratch(const Plan& plan, int threads, bool saves);
std::int64_t backward_scratch(const Plan& plan, int threads);

}  // namespace musicstar::cpu::gated
