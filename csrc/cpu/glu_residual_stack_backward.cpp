// The encoders' residual stack in fp32, backward. Per layer, with meetings of all threads where marked:
//
//   dp = dx_{l+1} through the GLU and da = pointwise^T dp where a > 0, span by span, and while they are in the cache
//   the sums of dp with a, and of da with x_l, over time, for each block of spans            blocks shared out
//   dx_l = dx_{l+1} + sum_k dilated_k^T da[t - offset_k], for each span as soon as what it reads is there
//   ---
//   the blocks' sums added up                                                                outputs shared out
//   dx_l of the spans that read what others have computed
//   ---
#include <algorithm>

#include "cpu/glu_residual_stack.h"

namespace musicstar::cpu {

namespace glu {

namespace {

// The sums of a layer's weight gradients, padded, one after the other.
struct Sums {
  std::int64_t dilated, pointwise, dilated_bias, pointwise_bias;  // where each begins: [products][c][c], [p][c], [c],
                                                                  // [p]
  std::int64_t floats;

  explicit Sums(const Plan& plan)
      : dilated(0),
        pointwise(Dilated::most_products(plan.sizes.kernel_size) * plan.c * plan.c),
        dilated_bias(pointwise + plan.p * plan.c),
        pointwise_bias(dilated_bias + plan.c),
        floats(padded(pointwise_bias + plan.p, kLineFloats)) {}
};

struct BackwardScratch {
  std::int64_t product_floats, dilated_floats, pointwise_floats;
  std::int64_t c_stride, p_stride;
  float *dilated, *pointwise;  // [L], transposed and packed
  float* dx[2];                // [rows][c]
  float* dp;                   // [threads][kMostSpanRows][p]
  float* da;                   // [rows][c]
  float* sums;                 // [blocks] of Sums
  std::int64_t panel_floats;
  float* panels;  // [threads] of Dilated::multiply and add_gradients

  BackwardScratch(const Plan& plan, int threads, Carver& carver) {
    const Sizes& sizes = plan.sizes;
    c_stride = scattered(plan.c);
    p_stride = scattered(plan.p);
    product_floats = packed_stack_floats(plan.c, false, sizes.channels);
    dilated_floats = Dilated::most_products(sizes.kernel_size) * product_floats;
    pointwise_floats = packed_stack_floats(plan.c, false, plan.p);
    dilated = carver.floats(sizes.layers * dilated_floats);
    pointwise = carver.floats(sizes.layers * pointwise_floats);
    for (float*& each : dx) each = carver.floats(plan.rows * c_stride);
    dp = carver.floats(threads * kMostSpanRows * p_stride);
    da = carver.floats(plan.rows * c_stride);
    sums = carver.floats(plan.in_order.blocks() * Sums(plan).floats);
    panel_floats = Dilated::gradient_floats(sizes.kernel_size, plan.c, plan.c);
    panels = carver.floats(threads * panel_floats);
  }

  void pack(const Plan& plan, const Inputs& inputs, std::int64_t l) const {
    const Sizes& sizes = plan.sizes;
    const std::int64_t C = sizes.channels, K = sizes.kernel_size, P = sizes.pointwise_channels();
    const std::int64_t width = plan.kernels.width;
    const float* from = inputs.dilated + l * C * C * K;
    const Dilated convolution = plan.dilated(l).opposite();
    for (std::int64_t product = 0; product < convolution.products(); ++product) {
      pack_stack_matrix(width, plan.c, false, C, dilated + l * dilated_floats + product * product_floats,
                        [&](std::int64_t o, std::int64_t i) {
                          if (o >= C) return 0.0f;
                          return convolution.weight(product,
                                                    [&](std::int64_t k) { return from[(i * C + o) * K + K - 1 - k]; });
                        });
    }
    const float* of_pointwise = inputs.pointwise + l * P * C;
    pack_stack_matrix(width, plan.c, false, plan.p, pointwise + l * pointwise_floats,
                      [&](std::int64_t o, std::int64_t i) {
                        const std::int64_t row = plan.pointwise_channel(i);
                        return o < C && row >= 0 ? of_pointwise[row * C + o] : 0.0f;
                      });
  }
};

// The weight gradients of a layer.
class WeightSums {
 public:
  WeightSums(const Plan& plan, const Saved& saved, const BackwardScratch& scratch, const Gradients& gradients)
      : plan_(plan), sizes_(plan.sizes), at_(plan), saved_(saved), scratch_(scratch), gradients_(gradients) {}

  void clear(std::int64_t block) const { std::fill_n(scratch_.sums + block * at_.floats, at_.floats, 0.0f); }

  // Adds a span's share to its block's sums; dp are the span's rows.
  void add(const Member& member, std::int64_t block, std::int64_t l, const Dilated& dilated, const float* dp) const {
    float* sums = scratch_.sums + block * at_.floats;
    const SpanRows& rows = member.rows;
    if (gradients_.pointwise_bias != nullptr) {
      plan_.kernels.column_sums(dp, scratch_.p_stride, rows.count(), plan_.p, sums + at_.pointwise_bias);
    }
    if (gradients_.pointwise != nullptr) {
      const float* activations = saved_.activations + (l * plan_.rows + rows.first) * plan_.c;
      add_products(dp, activations, rows.counts[0], sums + at_.pointwise);
      add_products(dp + rows.counts[0] * scratch_.p_stride, activations + rows.counts[0] * plan_.c, rows.counts[1],
                   sums + at_.pointwise);
    }
    if (gradients_.dilated_bias != nullptr) {
      add_places(scratch_.da, scratch_.c_stride, rows, 0, rows.count(), plan_.c, plan_.kernels,
                 sums + at_.dilated_bias);
    }
    if (gradients_.dilated == nullptr) return;
    dilated.add_gradients(rows, scratch_.da, scratch_.c_stride, plan_.c, saved_.x + l * plan_.rows * plan_.c, plan_.c,
                          plan_.c, plan_.kernels, scratch_.panels + member.index * scratch_.panel_floats,
                          sums + at_.dilated);
  }

  // Adds up the blocks' sums and writes the gradients of layer l: one member's share of them.
  void write(std::int64_t l, const Member& member) const {
    const Dilated dilated = plan_.dilated(l);
    const std::int64_t blocks = plan_.spans(l).blocks(), products = dilated.products(), c = plan_.c;
    const Range outputs = member.share(c);
    for (std::int64_t product = 0; product < products; ++product) {
      add_up(blocks, at_.dilated + (product * c + outputs.begin) * c, (outputs.end - outputs.begin) * c);
    }
    if (gradients_.dilated != nullptr) {
      for (std::int64_t o = outputs.begin; o < std::min(outputs.end, sizes_.channels); ++o)
        write_dilated(l, dilated, o);
    }
    const std::int64_t others = plan_.p + 1 + plan_.p / c;  // rows of c floats
    const Range mine = member.share(others);
    add_up(blocks, at_.pointwise + mine.begin * c, (mine.end - mine.begin) * c);
    for (std::int64_t row = mine.begin; row < mine.end; ++row) write_row(l, row);
  }

 private:
  void add_products(const float* dp, const float* activations, std::int64_t rows, float* sums) const {
    if (rows == 0) return;
    StackGradient call;
    call.left = dp;
    call.left_stride = scratch_.p_stride;
    call.right = activations;
    call.right_stride = plan_.c;
    call.rows = rows;
    call.outputs = plan_.p;
    call.inputs = plan_.c;
    call.sums = sums;
    plan_.kernels.gradient(call);
  }

  // Into the first block's sums, from `at` on.
  void add_up(std::int64_t blocks, std::int64_t at, std::int64_t floats) const {
    float* total = scratch_.sums + at;
    for (std::int64_t block = 1; block < blocks; ++block) {
      plan_.kernels.add(total + block * at_.floats, floats, total);
    }
  }

  void write_dilated(std::int64_t l, const Dilated& dilated, std::int64_t output) const {
    const std::int64_t C = sizes_.channels, K = sizes_.kernel_size, c = plan_.c;
    const float* sums = scratch_.sums + at_.dilated + output * c;
    float* to = gradients_.dilated + (l * C + output) * C * K;
    for (std::int64_t i = 0; i < C; ++i) {
      for (std::int64_t k = 0; k < K; ++k) {
        to[i * K + k] = dilated.gradient(k, [&](std::int64_t product) { return sums[product * c * c + i]; });
      }
    }
  }

  // One row of c sums, of whatever other weight it is.
  void write_row(std::int64_t l, std::int64_t row) const {
    const std::int64_t C = sizes_.channels, P = sizes_.pointwise_channels();
    const float* sums = scratch_.sums + at_.pointwise + row * plan_.c;
    if (row < plan_.p) {
      const std::int64_t output = plan_.pointwise_channel(row);
      if (gradients_.pointwise != nullptr && output >= 0) {
        std::copy_n(sums, C, gradients_.pointwise + (l * P + output) * C);
      }
      return;
    }
    row -= plan_.p;
    if (row == 0) {
      if (gradients_.dilated_bias != nullptr) std::copy_n(sums, C, gradients_.dilated_bias + l * C);
    } else if (gradients_.pointwise_bias != nullptr) {
      std::copy_n(sums, C, gradients_.pointwise_bias + l * P + (row - 1) * C);
    }
  }

  const Plan& plan_;
  const Sizes& sizes_;
  const Sums at_;
  const Saved& saved_;
  const BackwardScratch& scratch_;
  const Gradients& gradients_;
};

// One span of one layer's data gradients.
struct LayerBackward {
  const Plan& plan;
  const Saved& saved;
  const BackwardScratch& scratch;
  std::int64_t layer;
  Dilated opposite;
  const float* dx;  // of the layer's output
  float* to;        // of its input

  // Leaves da in the scratch; returns the span's rows of dp.
  const float* activations(const Member& member) const {
    const SpanRows& rows = member.rows;
    const std::int64_t saved_row = layer * plan.rows + rows.first;
    float* dp = scratch.dp + member.index * kMostSpanRows * scratch.p_stride;
    StackRows call;
    call.rows = rows.count();
    call.outputs = plan.c;
    call.places = rows.places;
    if (plan.sizes.gated) {
      call.base = dx;
      call.base_stride = scratch.c_stride;
      call.y = dp;
      call.y_stride = scratch.p_stride;
      call.read = saved.factors + saved_row * plan.p;
      call.saved_stride = plan.p;
      plan.kernels.glu_gradient(call);
    } else {
      copy_places(dx, scratch.c_stride, rows, plan.c, dp, scratch.p_stride);
    }
    const StackTerm term{dp, scratch.p_stride, plan.p, scratch.pointwise + layer * scratch.pointwise_floats};
    call.terms = &term;
    call.term_count = 1;
    call.y = scratch.da;
    call.y_stride = scratch.c_stride;
    call.read = saved.activations + saved_row * plan.c;
    call.saved_stride = plan.c;
    plan.kernels.rows_rectified_gradient(call);
    return dp;
  }

  void inputs(Member& member) const {
    StackRows call;
    call.outputs = plan.c;
    call.base = dx;
    call.y = to;
    call.base_stride = call.y_stride = scratch.c_stride;
    opposite.multiply(member, scratch.da, scratch.c_stride, plan.sizes.channels,
                      scratch.dilated + layer * scratch.dilated_floats, scratch.product_floats, plan.kernels.rows_add,
                      plan.kernels.pairs_add, call, plan.kernels, scratch.panels + member.index * scratch.panel_floats);
  }
};

}  // namespace

std::int64_t backward_scratch(const Plan& plan, int threads) {
  Carver carver(nullptr);
  const BackwardScratch scratch(plan, threads, carver);
  return carver.bytes();
}

}  // namespace glu

using namespace glu;

void glu_residual_stack_backward(const GluResidualStackSizes& sizes, const GluResidualStackInputs<float>& inputs,
                                 const float* result_gradient, const GluResidualStackGradients<float>& gradients,
                                 const void* saved_memory, void* scratch_memory, int threads, Isa isa) {
  const Plan plan(sizes, isa);
  const std::int64_t C = sizes.channels, K = sizes.kernel_size, L = sizes.layers, P = sizes.pointwise_channels();
  if (plan.rows == 0) {
    const auto zero = [](float* at, std::int64_t count) {
      if (at != nullptr) std::fill_n(at, count, 0.0f);
    };
    zero(gradients.dilated, L * C * C * K);
    zero(gradients.dilated_bias, L * C);
    zero(gradients.pointwise, L * P * C);
    zero(gradients.pointwise_bias, L * P);
    return;
  }
  Carver saved_carver(const_cast<void*>(saved_memory)), scratch_carver(scratch_memory);
  const Saved saved(plan, saved_carver);
  const BackwardScratch scratch(plan, threads, scratch_carver);
  const WeightSums sums(plan, saved, scratch, gradients);

  run_members(threads, plan.in_order.blocks(), Dilated::most_products(K), [&](Member& member) {
    const Range layers = member.share(L), rows = member.share(plan.rows);
    for (std::int64_t l = layers.begin; l < layers.end; ++l) scratch.pack(plan, inputs, l);
    copy_rows(result_gradient + rows.begin * C, C, scratch.dx[L % 2] + rows.begin * scratch.c_stride, scratch.c_stride,
              rows.end - rows.begin, C, plan.c);
    for (std::int64_t l = L - 1; l >= 0; --l) {
      member.meeting.wait();
      const Dilated dilated = plan.dilated(l);
      const Spans spans = plan.spans(l);
      const Range blocks = member.share(spans.blocks());
      const LayerBackward layer{
          plan, saved, scratch, l, dilated.opposite(), scratch.dx[(l + 1) % 2], scratch.dx[l % 2]};
      const auto of_inputs = [&](const Span& span) {
        if (l == 0 && gradients.x == nullptr) return;
        spans.list(span, member.rows);
        layer.inputs(member);
      };
      SecondPass second = layer.opposite.second_pass(spans, spans.of_blocks(blocks));
      for (std::int64_t block = blocks.end; block-- > blocks.begin;) {
        sums.clear(block);
        const Range in_block = spans.block(block);
        for (std::int64_t index = in_block.end; index-- > in_block.begin;) {
          spans.list(spans.at(index), member.rows);
          const float* dp = layer.activations(member);
          sums.add(member, block, l, dilated, dp);
          second.after(index, of_inputs);
        }
      }
      member.meeting.wait();
      sums.write(l, member);
      second.rest(of_inputs);
    }
    if (gradients.x == nullptr) return;
    member.meeting.wait();
    copy_rows(scratch.dx[0] + rows.begin * scratch.c_stride, scratch.c_stride, gradients.x + rows.begin * C, C,
              rows.end - rows.begin, C, C);
  });
}

}  // namespace musicstar::cpu
