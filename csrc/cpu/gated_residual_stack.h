// The decoder's residual stack in fp32: what its forward and its backward share. musicstar/stacks.h has the equations.
//
// Layer by layer, each over all rows: a layer's weights are read once a span, its activations once a layer. Forward
// keeps of every layer its input x and the two factors of z, 3 R floats a sample; a backward that had only x would do a
// third more products.
#pragma once

#include <vector>

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
  Spans spans;
  std::vector<std::int64_t> delays;  // [L][K], as offsets into the past: not positive
  std::vector<std::int64_t> leads;   // [L][K], their opposites: where the data gradient reads

  Plan(const Sizes& of, Isa isa)
      : sizes(of),
        kernels(stack_kernels_of(isa)),
        rows(of.batch * of.time),
        r(padded(of.residual, kernels.width)),
        s(padded(of.skip, kernels.width)),
        spans{of.batch, of.time} {
    for (std::int64_t l = 0; l < of.layers; ++l) {
      for (std::int64_t k = 0; k < of.kernel_size; ++k) {
        delays.push_back(-of.delay(l, k));
        leads.push_back(of.delay(l, k));
      }
    }
  }

  Taps past(std::int64_t layer) const {
    return {delays.data() + layer * sizes.kernel_size, sizes.kernel_size, sizes.time};
  }
  Taps future(std::int64_t layer) const {
    return {leads.data() + layer * sizes.kernel_size, sizes.kernel_size, sizes.time};
  }
  // Pieces that spans and frames together cut a sequence into, at most.
  std::int64_t pieces() const { return spans.in_sequence() + sizes.frames; }
  // Where the two halves of 2 R channels stand among padded ones; -1: padding.
  std::int64_t half_channel(std::int64_t padded_channel) const {
    const std::int64_t half = padded_channel / r, c = padded_channel % r;
    return c < sizes.residual ? half * sizes.residual + c : -1;
  }
};

struct Saved {
  float* x;      // [L][rows][r]: the input of every layer
  float* gates;  // [L][rows][2 r]: sigmoid and tanh

  Saved(const Plan& plan, Carver& carver)
      : x(carver.floats(plan.sizes.layers * plan.rows * plan.r)),
        gates(carver.floats(plan.sizes.layers * plan.rows * 2 * plan.r)) {}
};

// Bytes of scratch.
std::int64_t forward_scratch(const Plan& plan, int threads, bool saves);
std::int64_t backward_scratch(const Plan& plan, int threads);

}  // namespace musicstar::cpu::gated
