// The decoder's residual stack in fp32, forward: gated_residual_stack.h says how it is organised.
#include <algorithm>

#include "cpu/gated_residual_stack.h"

namespace musicstar::cpu {

namespace gated {

namespace {

struct ForwardScratch {
  std::int64_t product_floats;                                // of a product of the dilated convolution
  std::int64_t dilated_floats, residual_floats, skip_floats;  // of a layer's packed weights
  float *dilated, *residual, *skip;                           // [L] of them
  float* residual_bias;                                       // [L][r]
  float* condition;                                           // [L][B][F][2 r]
  float* z;                                                   // [threads][kMostSpanRows][r]
  float* sum;                                                 // [rows][s]
  float* x[2];                                                // [rows][r], where nothing is saved
  std::int64_t panel_floats;
  float* panels;  // [threads] of Dilated::multiply

  ForwardScratch(const Plan& plan, int threads, bool saves, Carver& carver) {
    const Sizes& sizes = plan.sizes;
    product_floats = packed_stack_floats(plan.r, true, sizes.residual);
    dilated_floats = Dilated::most_products(sizes.kernel_size) * product_floats;
    residual_floats = packed_stack_floats(plan.r, false, sizes.residual);
    skip_floats = packed_stack_floats(plan.s, false, sizes.residual);
    dilated = carver.floats(sizes.layers * dilated_floats);
    residual = carver.floats(sizes.layers * residual_floats);
    skip = carver.floats(sizes.layers * skip_floats);
    residual_bias = carver.floats(sizes.layers * plan.r);
    condition = carver.floats(sizes.layers * sizes.batch * sizes.frames * 2 * plan.r);
    z = carver.floats(threads * kMostSpanRows * plan.r);
    sum = carver.floats(plan.rows * plan.s);
    for (float*& each : x) each = saves ? nullptr : carver.floats(plan.rows * plan.r);
    panel_floats = Dilated::multiply_floats(sizes.kernel_size, sizes.residual);
    panels = carver.floats(threads * panel_floats);
  }

  void pack(const Plan& plan, const Inputs& inputs, std::int64_t l) const {
    const Sizes& sizes = plan.sizes;
    const std::int64_t R = sizes.residual, S = sizes.skip, K = sizes.kernel_size, width = plan.kernels.width;
    const float* from = inputs.dilated + l * 2 * R * R * K;
    const Dilated convolution = plan.dilated(l);
    for (std::int64_t product = 0; product < convolution.products(); ++product) {
      pack_stack_matrix(width, plan.r, true, R, dilated + l * dilated_floats + product * product_floats,
                        [&](std::int64_t o, std::int64_t i) {
                          const std::int64_t row = plan.half_channel(o);
                          if (row < 0) return 0.0f;
                          return convolution.weight(product,
                                                    [&](std::int64_t k) { return from[(row * R + i) * K + k]; });
                        });
    }
    const float* to_residual = inputs.residual + l * R * R;
    pack_stack_matrix(width, plan.r, false, R, residual + l * residual_floats,
                      [&](std::int64_t o, std::int64_t i) { return o < R ? to_residual[o * R + i] : 0.0f; });
    const float* to_skip = inputs.skip + l * S * R;
    pack_stack_matrix(width, plan.s, false, R, skip + l * skip_floats,
                      [&](std::int64_t o, std::int64_t i) { return o < S ? to_skip[o * R + i] : 0.0f; });
    copy_rows(inputs.residual_bias + l * R, R, residual_bias + l * plan.r, plan.r, 1, R, plan.r);
    const std::int64_t frames = sizes.batch * sizes.frames;
    const float* condition_from = inputs.condition + l * frames * 2 * R;
    float* condition_to = condition + l * frames * 2 * plan.r;
    for (const std::int64_t half : {0, 1}) {
      copy_rows(condition_from + half * R, 2 * R, condition_to + half * plan.r, 2 * plan.r, frames, R, plan.r);
    }
  }
};

// One span of one layer: x_{l+1} and its part of the skip sum.
struct LayerForward {
  const Plan& plan;
  const ForwardScratch& scratch;
  std::int64_t layer;
  Dilated dilated;
  const float* x;
  float* next;   // null behind the last layer
  float* gates;  // null: not saved

  void span(Member& member) const {
    const Sizes& sizes = plan.sizes;
    const StackKernels& kernels = plan.kernels;
    SpanRows& rows = member.rows;
    const std::int64_t r = plan.r;
    rows.list_frames(sizes.pool, sizes.frames);
    float* z = scratch.z + member.index * kMostSpanRows * r;
    StackRows call;
    call.outputs = r;
    call.bias = scratch.condition + layer * sizes.batch * sizes.frames * 2 * r;
    call.y = z;
    call.y_stride = r;
    call.saved = gates == nullptr ? nullptr : gates + rows.first * 2 * r;
    call.saved_stride = 2 * r;
    dilated.multiply(member, x, r, sizes.residual, scratch.dilated + layer * scratch.dilated_floats,
                     scratch.product_floats, kernels.rows_gated, kernels.pairs_gated, call, kernels,
                     scratch.panels + member.index * scratch.panel_floats);
    StackTerm term{z, r, sizes.residual, scratch.skip + layer * scratch.skip_floats};
    call = {};
    call.terms = &term;
    call.term_count = 1;
    call.rows = rows.count();
    call.places = rows.places;
    call.outputs = plan.s;
    call.base = call.y = scratch.sum;
    call.base_stride = call.y_stride = plan.s;
    kernels.rows_add(call);
    if (next == nullptr) return;
    term.weight = scratch.residual + layer * scratch.residual_floats;
    call.outputs = r;
    call.bias = scratch.residual_bias + layer * r;
    call.base = x;
    call.y = next;
    call.base_stride = call.y_stride = r;
    kernels.rows_add(call);
  }
};

}  // namespace

std::int64_t forward_scratch(const Plan& plan, int threads, bool saves) {
  Carver carver(nullptr);
  const ForwardScratch scratch(plan, threads, saves, carver);
  return carver.bytes();
}

}  // namespace gated

using namespace gated;

StackMemory gated_residual_stack_memory(const GatedResidualStackSizes& sizes, int threads, Isa isa) {
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

void gated_residual_stack_forward(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs<float>& inputs,
                                  float* result, void* saved_memory, void* scratch_memory, int threads, Isa isa) {
  const Plan plan(sizes, isa);
  if (plan.rows == 0) return;
  const bool saves = saved_memory != nullptr;
  Carver saved_carver(saved_memory), scratch_carver(scratch_memory);
  const Saved saved(plan, saved_carver);
  const ForwardScratch scratch(plan, threads, saves, scratch_carver);
  const auto x_of = [&](std::int64_t l) { return saves ? saved.x + l * plan.rows * plan.r : scratch.x[l % 2]; };

  run_members(threads, plan.in_order.count(), Dilated::most_products(sizes.kernel_size), [&](Member& member) {
    const Range layers = member.share(sizes.layers), rows = member.share(plan.rows);
    const std::int64_t R = sizes.residual, S = sizes.skip;
    for (std::int64_t l = layers.begin; l < layers.end; ++l) scratch.pack(plan, inputs, l);
    copy_rows(inputs.x + rows.begin * R, R, x_of(0) + rows.begin * plan.r, plan.r, rows.end - rows.begin, R, plan.r);
    std::fill_n(scratch.sum + rows.begin * plan.s, (rows.end - rows.begin) * plan.s, 0.0f);
    for (std::int64_t l = 0; l < sizes.layers; ++l) {
      member.meeting.wait();
      const LayerForward layer{plan,
                               scratch,
                               l,
                               plan.dilated(l),
                               x_of(l),
                               l + 1 < sizes.layers ? x_of(l + 1) : nullptr,
                               saves ? saved.gates + l * plan.rows * 2 * plan.r : nullptr};
      const Spans spans = plan.spans(l);
      spans.for_each(member.share(spans.count()), member.rows, [&](const SpanRows&) { layer.span(member); });
    }
    member.meeting.wait();
    copy_rows(scratch.sum + rows.begin * plan.s, plan.s, result + rows.begin * S, S, rows.end - rows.begin, S, S);
  });
}

}  // namespace musicstar::cpu
