// The encoders' residual stack in fp32, forward: glu_residual_stack.h says how it is organised.
#include <algorithm>

#include "cpu/glu_residual_stack.h"

namespace musicstar::cpu {

namespace glu {

namespace {

struct ForwardScratch {
  std::int64_t tap_floats, dilated_floats, pointwise_floats;  // of packed weights: one tap's, one layer's
  float *dilated, *pointwise;                                 // [L] of them
  float *dilated_bias, *pointwise_bias;                       // [L][c], [L][p]
  float* x[2];                                                // [rows][c]; one where x is saved
  float* activations;                                         // [threads][kSpanRows][c], where nothing is saved

  ForwardScratch(const Plan& plan, int threads, bool saves, Carver& carver) {
    const Sizes& sizes = plan.sizes;
    tap_floats = packed_stack_floats(plan.c, false, sizes.channels);
    dilated_floats = sizes.kernel_size * tap_floats;
    pointwise_floats = packed_stack_floats(plan.c, sizes.gated, sizes.channels);
    dilated = carver.floats(sizes.layers * dilated_floats);
    pointwise = carver.floats(sizes.layers * pointwise_floats);
    dilated_bias = carver.floats(sizes.layers * plan.c);
    pointwise_bias = carver.floats(sizes.layers * plan.p);
    x[0] = carver.floats(plan.rows * plan.c);
    x[1] = saves ? nullptr : carver.floats(plan.rows * plan.c);
    activations = saves ? nullptr : carver.floats(threads * kSpanRows * plan.c);
  }

  void pack(const Plan& plan, const Inputs& inputs, std::int64_t l) const {
    const Sizes& sizes = plan.sizes;
    const std::int64_t C = sizes.channels, K = sizes.kernel_size, P = sizes.pointwise_channels();
    const std::int64_t width = plan.kernels.width;
    const float* from = inputs.dilated + l * C * C * K;
    for (std::int64_t k = 0; k < K; ++k) {
      pack_stack_matrix(width, plan.c, false, C, dilated + l * dilated_floats + k * tap_floats,
                        [&](std::int64_t o, std::int64_t i) { return o < C ? from[(o * C + i) * K + k] : 0.0f; });
    }
    const float* of_pointwise = inputs.pointwise + l * P * C;
    pack_stack_matrix(width, plan.c, sizes.gated, C, pointwise + l * pointwise_floats,
                      [&](std::int64_t o, std::int64_t i) {
                        const std::int64_t row = plan.pointwise_channel(o);
                        return row < 0 ? 0.0f : of_pointwise[row * C + i];
                      });
    copy_rows(inputs.dilated_bias + l * C, C, dilated_bias + l * plan.c, plan.c, 1, C, plan.c);
    copy_rows(inputs.pointwise_bias + l * P, C, pointwise_bias + l * plan.p, plan.c, P / C, C, plan.c);
  }
};

// One span of one layer.
struct LayerForward {
  const Plan& plan;
  const ForwardScratch& scratch;
  std::int64_t layer;
  const float* x;
  float* next;
  float* activations;  // [rows][c], or null: not saved
  float* factors;      // [rows][p], or null: not saved

  void span(Member& member, std::int64_t b, std::int64_t begin, std::int64_t end) const {
    const Sizes& sizes = plan.sizes;
    const std::int64_t c = plan.c, first_row = b * sizes.time, row = first_row + begin;
    float* hidden = activations == nullptr ? scratch.activations + member.index * kSpanRows * c : activations + row * c;
    plan.taps(layer).for_each_piece(
        begin, end, x + first_row * c, c, sizes.channels, scratch.dilated + layer * scratch.dilated_floats,
        scratch.tap_floats, member.terms.data(),
        [&](std::int64_t from, std::int64_t to, const StackTerm* terms, std::int64_t count) {
          StackRows call;
          call.terms = terms;
          call.term_count = count;
          call.rows = to - from;
          call.outputs = c;
          call.bias = scratch.dilated_bias + layer * c;
          call.y = hidden + (from - begin) * c;
          call.y_stride = c;
          plan.kernels.rows_rectified(call);
        });
    const StackTerm term{hidden, c, sizes.channels, scratch.pointwise + layer * scratch.pointwise_floats};
    StackRows call;
    call.terms = &term;
    call.term_count = 1;
    call.rows = end - begin;
    call.outputs = c;
    call.bias = scratch.pointwise_bias + layer * plan.p;
    call.base = x + row * c;
    call.y = next + row * c;
    call.base_stride = call.y_stride = c;
    call.saved = factors == nullptr ? nullptr : factors + row * plan.p;
    call.saved_stride = plan.p;
    (sizes.gated ? plan.kernels.rows_glu : plan.kernels.rows_add)(call);
  }
};

}  // namespace

std::int64_t forward_scratch(const Plan& plan, int threads, bool saves) {
  Carver carver(nullptr);
  const ForwardScratch scratch(plan, threads, saves, carver);
  return carver.bytes();
}

}  // namespace glu

using namespace glu;

StackMemory glu_residual_stack_memory(const GluResidualStackSizes& sizes, int threads, Isa isa) {
  const Plan plan(sizes, isa);
  Carver carver(nullptr);
  const Saved saved(plan, carver);
  StackMemory memory;
  memory.saved = carver.bytes();
  memory.inference = forward_scratch(plan, threads, false);
  memory.forward = forward_scratch(plan, threads, true);
  memory.backward = backward_scratch(plan, threads);
  return memory;
}

void glu_residual_stack_forward(const GluResidualStackSizes& sizes, const GluResidualStackInputs<float>& inputs,
                                float* result, void* saved_memory, void* scratch_memory, int threads, Isa isa) {
  const Plan plan(sizes, isa);
  if (plan.rows == 0) return;
  const bool saves = saved_memory != nullptr;
  const std::int64_t C = sizes.channels, L = sizes.layers;
  Carver saved_carver(saved_memory), scratch_carver(scratch_memory);
  const Saved saved(plan, saved_carver);
  const ForwardScratch scratch(plan, threads, saves, scratch_carver);
  // The stack's output is not saved: in its place scratch.x[0].
  const auto x_of = [&](std::int64_t l) {
    return saves ? (l < L ? saved.x + l * plan.rows * plan.c : scratch.x[0]) : scratch.x[l % 2];
  };

  run_members(threads, plan.spans.count(), sizes.kernel_size, [&](Member& member) {
    const Range spans = member.share(plan.spans.count());
    const Range layers = member.share(L);
    for (std::int64_t l = layers.begin; l < layers.end; ++l) scratch.pack(plan, inputs, l);
    plan.spans.for_each(spans, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
      const std::int64_t row = b * sizes.time + begin;
      copy_rows(inputs.x + row * C, C, x_of(0) + row * plan.c, plan.c, end - begin, C, plan.c);
    });
    for (std::int64_t l = 0; l < L; ++l) {
      member.meeting.wait();
      const LayerForward layer{plan,
                               scratch,
                               l,
                               x_of(l),
                               x_of(l + 1),
                               saves ? saved.activations + l * plan.rows * plan.c : nullptr,
                               saves && sizes.gated ? saved.factors + l * plan.rows * plan.p : nullptr};
      plan.spans.for_each(
          spans, [&](std::int64_t b, std::int64_t begin, std::int64_t end) { layer.span(member, b, begin, end); });
    }
    plan.spans.for_each(spans, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
      const std::int64_t row = b * sizes.time + begin;
      copy_rows(x_of(L) + row * plan.c, plan.c, result + row * C, C, end - begin, C, C);
    });
  });
}

}  // namespace musicstar::cpu
