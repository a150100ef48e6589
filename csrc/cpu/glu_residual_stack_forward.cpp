// The encoders' residual stack in fp32, forward: glu_residual_stack.h says how it is organised.
#include <algorithm>

#include "cpu/glu_residual_stack.h"

namespace musicstar::cpu {

namespace glu {

namespace {

struct ForwardScratch {
  std::int64_t product_floats, dilated_floats, pointwise_floats;  // of packed weights: one product's, one layer's
  float *dilated, *pointwise;                                     // [L] of them
  float *dilated_bias, *pointwise_bias;                           // [L][c], [L][p]
  float* x[2];                                                    // [rows][c]; one where x is saved
  float* activations;                                             // [threads][kMostSpanRows][c], where nothing is saved
  std::int64_t panel_floats;
  float* panels;  // [threads] of Dilated::multiply

  ForwardScratch(const Plan& plan, int threads, bool saves, Carver& carver) {
    const Sizes& sizes = plan.sizes;
    product_floats = packed_stack_floats(plan.c, false, sizes.channels);
    dilated_floats = Dilated::most_products(sizes.kernel_size) * product_floats;
    pointwise_floats = packed_stack_floats(plan.c, sizes.gated, sizes.channels);
    dilated = carver.floats(sizes.layers * dilated_floats);
    pointwise = carver.floats(sizes.layers * pointwise_floats);
    dilated_bias = carver.floats(sizes.layers * plan.c);
    pointwise_bias = carver.floats(sizes.layers * plan.p);
    x[0] = carver.floats(plan.rows * plan.c);
    x[1] = saves ? nullptr : carver.floats(plan.rows * plan.c);
    activations = saves ? nullptr : carver.floats(threads * kMostSpanRows * plan.c);
    panel_floats = Dilated::multiply_floats(sizes.kernel_size, sizes.channels);
    panels = carver.floats(threads * panel_floats);
  }

  void pack(const Plan& plan, const Inputs& inputs, std::int64_t l) const {
    const Sizes& sizes = plan.sizes;
    const std::int64_t C = sizes.channels, K = sizes.kernel_size, P = sizes.pointwise_channels();
    const std::int64_t width = plan.kernels.width;
    const float* from = inputs.dilated + l * C * C * K;
    const Dilated convolution = plan.dilated(l);
    for (std::int64_t product = 0; product < convolution.products(); ++product) {
      pack_stack_matrix(width, plan.c, false, C, dilated + l * dilated_floats + product * product_floats,
                        [&](std::int64_t o, std::int64_t i) {
                          if (o >= C) return 0.0f;
                          return convolution.weight(product, [&](std::int64_t k) { return from[(o * C + i) * K + k]; });
                        });
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
  Dilated dilated;
  const float* x;
  float* next;
  float* activations;  // [rows][c], or null: not saved
  float* factors;      // [rows][p], or null: not saved

  void span(Member& member) const {
    const Sizes& sizes = plan.sizes;
    const StackKernels& kernels = plan.kernels;
    const SpanRows& rows = member.rows;
    const std::int64_t c = plan.c;
    float* hidden =
        activations == nullptr ? scratch.activations + member.index * kMostSpanRows * c : activations + rows.first * c;
    StackRows call;
    call.outputs = c;
    call.bias = scratch.dilated_bias + layer * c;
    call.y = hidden;
    call.y_stride = c;
    dilated.multiply(member, x, c, sizes.channels, scratch.dilated + layer * scratch.dilated_floats,
                     scratch.product_floats, kernels.rows_rectified, kernels.pairs_rectified, call, kernels,
                     scratch.panels + member.index * scratch.panel_floats);
    const StackTerm term{hidden, c, sizes.channels, scratch.pointwise + layer * scratch.pointwise_floats};
    call.terms = &term;
    call.term_count = 1;
    call.rows = rows.count();
    call.places = rows.places;
    call.bias = scratch.pointwise_bias + layer * plan.p;
    call.base = x;
    call.y = next;
    call.base_stride = c;
    call.saved = factors == nullptr ? nullptr : factors + rows.first * plan.p;
    call.saved_stride = plan.p;
    (sizes.gated ? kernels.rows_glu : kernels.rows_add)(call);
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

  run_members(threads, plan.in_order.count(), Dilated::most_products(sizes.kernel_size), [&](Member& member) {
    const Range layers = member.share(L), rows = member.share(plan.rows);
    for (std::int64_t l = layers.begin; l < layers.end; ++l) scratch.pack(plan, inputs, l);
    copy_rows(inputs.x + rows.begin * C, C, x_of(0) + rows.begin * plan.c, plan.c, rows.end - rows.begin, C, plan.c);
    for (std::int64_t l = 0; l < L; ++l) {
      member.meeting.wait();
      const LayerForward layer{plan,
                               scratch,
                               l,
                               plan.dilated(l),
                               x_of(l),
                               x_of(l + 1),
                               saves ? saved.activations + l * plan.rows * plan.c : nullptr,
                               saves && sizes.gated ? saved.factors + l * plan.rows * plan.p : nullptr};
      const Spans spans = plan.spans(l);
      spans.for_each(member.share(spans.count()), member.rows, [&](const SpanRows&) { layer.span(member); });
    }
    member.meeting.wait();
    copy_rows(x_of(L) + rows.begin * plan.c, plan.c, result + rows.begin * C, C, rows.end - rows.begin, C, C);
  });
}

}  // namespace musicstar::cpu
