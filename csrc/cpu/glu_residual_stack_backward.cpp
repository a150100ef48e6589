// The encoders' residual stack in fp32, backward. Per layer, with meetings of all threads where marked:
//
//   dp = dx_{l+1} through the GLU and da = pointwise^T dp where a > 0, span by span, and while they are in the cache
//   the sums of dp with a, and of da with x_l, over time, for each block of spans            blocks shared out
//   ---
//   the blocks' sums added up                                                                outputs shared out
//   dx_l = dx_{l+1} + sum_k dilated_k^T da[t - offset_k]                                     spans shared out
//   ---
#include <algorithm>

#include "cpu/glu_residual_stack.h"

namespace musicstar::cpu {

namespace glu {

namespace {

// The sums of a layer's weight gradients, padded, one after the other.
struct Sums {
  std::int64_t dilated, pointwise, dilated_bias, pointwise_bias;  // where each begins: [K][c][c], [p][c], [c], [p]
  std::int64_t floats;

  explicit Sums(const Plan& plan)
      : dilated(0),
        pointwise(plan.sizes.kernel_size * plan.c * plan.c),
        dilated_bias(pointwise + plan.p * plan.c),
        pointwise_bias(dilated_bias + plan.c),
        floats(padded(pointwise_bias + plan.p, kLineFloats)) {}
};

struct BackwardScratch {
  std::int64_t tap_floats, dilated_floats, pointwise_floats;
  std::int64_t c_stride, p_stride;
  float *dilated, *pointwise;  // [L], transposed and packed
  float* dx[2];                // [rows][c]
  float* dp;                   // [threads][kSpanRows][2 c], where gated: else it is dx
  float* da;                   // [rows][c]
  float* sums;                 // [blocks] of Sums

  BackwardScratch(const Plan& plan, int threads, Carver& carver) {
    const Sizes& sizes = plan.sizes;
    c_stride = scattered(plan.c);
    p_stride = scattered(plan.p);
    tap_floats = packed_stack_floats(plan.c, false, sizes.channels);
    dilated_floats = sizes.kernel_size * tap_floats;
    pointwise_floats = packed_stack_floats(plan.c, false, plan.p);
    dilated = carver.floats(sizes.layers * dilated_floats);
    pointwise = carver.floats(sizes.layers * pointwise_floats);
    for (float*& each : dx) each = carver.floats(plan.rows * c_stride);
    dp = sizes.gated ? carver.floats(threads * kSpanRows * p_stride) : nullptr;
    da = carver.floats(plan.rows * c_stride);
    sums = carver.floats(plan.spans.blocks() * Sums(plan).floats);
  }

  void pack(const Plan& plan, const Inputs& inputs, std::int64_t l) const {
    const Sizes& sizes = plan.sizes;
    const std::int64_t C = sizes.channels, K = sizes.kernel_size, P = sizes.pointwise_channels();
    const std::int64_t width = plan.kernels.width;
    const float* from = inputs.dilated + l * C * C * K;
    for (std::int64_t k = 0; k < K; ++k) {
      pack_stack_matrix(width, plan.c, false, C, dilated + l * dilated_floats + k * tap_floats,
                        [&](std::int64_t o, std::int64_t i) { return o < C ? from[(i * C + o) * K + k] : 0.0f; });
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
  void add(std::int64_t block, std::int64_t l, const float* dp, std::int64_t b, std::int64_t begin,
           std::int64_t end) const {
    float* sums = scratch_.sums + block * at_.floats;
    const std::int64_t row = b * sizes_.time + begin, rows = end - begin;
    if (gradients_.pointwise_bias != nullptr) {
      plan_.kernels.column_sums(dp, scratch_.p_stride, rows, plan_.p, sums + at_.pointwise_bias);
    }
    if (gradients_.pointwise != nullptr) {
      add_products(dp, scratch_.p_stride, saved_.activations + (l * plan_.rows + row) * plan_.c, rows, plan_.p,
                   sums + at_.pointwise);
    }
    const float* da = scratch_.da + row * scratch_.c_stride;
    if (gradients_.dilated_bias != nullptr) {
      plan_.kernels.column_sums(da, scratch_.c_stride, rows, plan_.c, sums + at_.dilated_bias);
    }
    if (gradients_.dilated == nullptr) return;
    const Taps taps = plan_.taps(l);
    for (std::int64_t k = 0; k < taps.count; ++k) {
      const Range inside = taps.inside(k, begin, end);
      if (inside.begin >= inside.end) continue;
      const std::int64_t first = b * sizes_.time + inside.begin;
      add_products(scratch_.da + first * scratch_.c_stride, scratch_.c_stride,
                   saved_.x + (l * plan_.rows + first + taps.offsets[k]) * plan_.c, inside.end - inside.begin, plan_.c,
                   sums + at_.dilated + k * plan_.c * plan_.c);
    }
  }

  // Adds up the blocks' sums and writes the gradients of layer l: one member's share of them.
  void write(std::int64_t l, const Member& member) const {
    const std::int64_t rows = sizes_.kernel_size * plan_.c + plan_.p + 1 + plan_.p / plan_.c;  // of c floats
    const Range mine = member.share(rows);
    float* total = scratch_.sums + mine.begin * plan_.c;
    for (std::int64_t block = 1; block < plan_.spans.blocks(); ++block) {
      plan_.kernels.add(total + block * at_.floats, (mine.end - mine.begin) * plan_.c, total);
    }
    for (std::int64_t row = mine.begin; row < mine.end; ++row) write_row(l, row);
  }

 private:
  void add_products(const float* left, std::int64_t left_stride, const float* right, std::int64_t rows,
                    std::int64_t outputs, float* sums) const {
    StackGradient call;
    call.left = left;
    call.left_stride = left_stride;
    call.right = right;
    call.right_stride = plan_.c;
    call.rows = rows;
    call.outputs = outputs;
    call.inputs = plan_.c;
    call.sums = sums;
    plan_.kernels.gradient(call);
  }

  // One row of c sums, of whatever weight it is.
  void write_row(std::int64_t l, std::int64_t row) const {
    const std::int64_t C = sizes_.channels, K = sizes_.kernel_size, P = sizes_.pointwise_channels();
    const float* sums = scratch_.sums + row * plan_.c;
    if (row < K * plan_.c) {
      const std::int64_t k = row / plan_.c, output = row % plan_.c;
      if (gradients_.dilated == nullptr || output >= C) return;
      float* to = gradients_.dilated + (l * C + output) * C * K + k;
      for (std::int64_t i = 0; i < C; ++i) to[i * K] = sums[i];
      return;
    }
    row -= K * plan_.c;
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
  const float* dx;  // of the layer's output
  float* to;        // of its input

  // Leaves da in the scratch; returns the span's rows of dp.
  const float* activations(const Member& member, std::int64_t b, std::int64_t begin, std::int64_t end) const {
    const std::int64_t row = b * plan.sizes.time + begin, saved_row = layer * plan.rows + row;
    StackRows call;
    call.rows = end - begin;
    call.outputs = plan.c;
    const float* dp = dx + row * scratch.c_stride;
    if (plan.sizes.gated) {
      float* through_gate = scratch.dp + member.index * kSpanRows * scratch.p_stride;
      call.base = dp;
      call.base_stride = scratch.c_stride;
      call.y = through_gate;
      call.y_stride = scratch.p_stride;
      call.read = saved.factors + saved_row * plan.p;
      call.saved_stride = plan.p;
      plan.kernels.glu_gradient(call);
      dp = through_gate;
    }
    const StackTerm term{dp, scratch.p_stride, plan.p, scratch.pointwise + layer * scratch.pointwise_floats};
    call.terms = &term;
    call.term_count = 1;
    call.y = scratch.da + row * scratch.c_stride;
    call.y_stride = scratch.c_stride;
    call.read = saved.activations + saved_row * plan.c;
    call.saved_stride = plan.c;
    plan.kernels.rows_rectified_gradient(call);
    return dp;
  }

  void inputs(Member& member, std::int64_t b, std::int64_t begin, std::int64_t end) const {
    const std::int64_t first_row = b * plan.sizes.time;
    plan.opposite_taps(layer).for_each_piece(
        begin, end, scratch.da + first_row * scratch.c_stride, scratch.c_stride, plan.sizes.channels,
        scratch.dilated + layer * scratch.dilated_floats, scratch.tap_floats, member.terms.data(),
        [&](std::int64_t from, std::int64_t until, const StackTerm* terms, std::int64_t count) {
          StackRows call;
          call.terms = terms;
          call.term_count = count;
          call.rows = until - from;
          call.outputs = plan.c;
          call.base = dx + (first_row + from) * scratch.c_stride;
          call.y = to + (first_row + from) * scratch.c_stride;
          call.base_stride = call.y_stride = scratch.c_stride;
          plan.kernels.rows_add(call);
        });
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

  run_members(threads, plan.spans.blocks(), K, [&](Member& member) {
    const Range layers = member.share(L), blocks = member.share(plan.spans.blocks());
    const Range own{plan.spans.block(blocks.begin).begin, plan.spans.block(blocks.end - 1).end};
    for (std::int64_t l = layers.begin; l < layers.end; ++l) scratch.pack(plan, inputs, l);
    plan.spans.for_each(own, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
      const std::int64_t row = b * sizes.time + begin;
      copy_rows(result_gradient + row * C, C, scratch.dx[L % 2] + row * scratch.c_stride, scratch.c_stride, end - begin,
                C, plan.c);
    });
    for (std::int64_t l = L - 1; l >= 0; --l) {
      member.meeting.wait();
      const LayerBackward layer{plan, saved, scratch, l, scratch.dx[(l + 1) % 2], scratch.dx[l % 2]};
      const auto of_inputs = [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
        if (l > 0 || gradients.x != nullptr) layer.inputs(member, b, begin, end);
      };
      SecondPass second(plan.spans, plan.opposite_taps(l), own);
      for (std::int64_t block = blocks.end; block-- > blocks.begin;) {
        sums.clear(block);
        const Range in_block = plan.spans.block(block);
        for (std::int64_t index = in_block.end; index-- > in_block.begin;) {
          const Spans::Span span = plan.spans.at(index);
          const float* dp = layer.activations(member, span.sequence, span.begin, span.end);
          sums.add(block, l, dp, span.sequence, span.begin, span.end);
          second.after(index, of_inputs);
        }
      }
      member.meeting.wait();
      sums.write(l, member);
      second.rest(of_inputs);
    }
    if (gradients.x == nullptr) return;
    plan.spans.for_each(own, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
      const std::int64_t row = b * sizes.time + begin;
      copy_rows(scratch.dx[0] + row * scratch.c_stride, scratch.c_stride, gradients.x + row * C, C, end - begin, C, C);
    });
  });
}

}  // namespace musicstar::cpu
