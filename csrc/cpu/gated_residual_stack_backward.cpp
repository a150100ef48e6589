// The decoder's residual stack in fp32, backward. Per layer, with meetings of all threads where marked:
//
//   dh = (residual^T dx_{l+1} + skip^T ds) through the gate, span by span, and while it is in the cache
//   the sums of dh, dx_{l+1}, ds with x_l and z over time, for each block of spans           blocks shared out
//   dx_l = dx_{l+1} + sum_k dilated_k^T dh[t + delay_k], for each span as soon as what it reads is there
//   ---
//   the blocks' sums added up                                                                outputs shared out
//   dx_l of the spans that read what others have computed
//   ---
#include <algorithm>

#include "cpu/gated_residual_stack.h"

namespace musicstar::cpu {

namespace gated {

namespace {

// The sums of a layer's weight gradients, padded, one after the other.
struct Sums {
  std::int64_t dilated, residual, skip, residual_bias;  // where each begins: [products][2 r][r], [r][r], [s][r],
                                                        // [r]
  std::int64_t floats;

  explicit Sums(const Plan& plan)
      : dilated(0),
        residual(Dilated::most_products(plan.sizes.kernel_size) * 2 * plan.r * plan.r),
        skip(residual + plan.r * plan.r),
        residual_bias(skip + plan.s * plan.r),
        floats(padded(residual_bias + plan.r, kLineFloats)) {}
};

struct BackwardScratch {
  std::int64_t product_floats, dilated_floats, residual_floats, skip_floats;
  std::int64_t h_stride, x_stride, s_stride;
  float *residual, *skip;    // [L], transposed and packed: to z
  float* dilated;            // [L], transposed and packed: to x
  float* ds;                 // [rows][s]
  float* dx[2];              // [rows][r]
  float* dh;                 // [rows][2 r]
  float* sums;               // [blocks] of Sums
  float* frames;             // [B][2][pieces of frames][2 r]: the sums of dh over each
  float *span_dx, *span_ds;  // [threads][kMostSpanRows][r] and [s]: of a span, in its order
  std::int64_t panel_floats;
  float* panels;  // [threads] of Dilated::multiply and add_gradients

  BackwardScratch(const Plan& plan, int threads, Carver& carver) {
    const Sizes& sizes = plan.sizes;
    h_stride = scattered(2 * plan.r);
    x_stride = scattered(plan.r);
    s_stride = scattered(plan.s);
    residual_floats = packed_stack_floats(plan.r, false, sizes.residual);
    skip_floats = packed_stack_floats(plan.r, false, sizes.skip);
    product_floats = packed_stack_floats(plan.r, false, 2 * plan.r);
    dilated_floats = Dilated::most_products(sizes.kernel_size) * product_floats;
    residual = carver.floats(sizes.layers * residual_floats);
    skip = carver.floats(sizes.layers * skip_floats);
    dilated = carver.floats(sizes.layers * dilated_floats);
    ds = carver.floats(plan.rows * s_stride);
    for (float*& each : dx) each = carver.floats(plan.rows * x_stride);
    dh = carver.floats(plan.rows * h_stride);
    sums = carver.floats(plan.in_order.blocks() * Sums(plan).floats);
    frames = carver.floats(sizes.batch * 2 * plan.pieces() * 2 * plan.r);
    span_dx = carver.floats(threads * kMostSpanRows * x_stride);
    span_ds = carver.floats(threads * kMostSpanRows * s_stride);
    panel_floats = Dilated::gradient_floats(sizes.kernel_size, 2 * plan.r, plan.r);
    panels = carver.floats(threads * panel_floats);
  }

  void pack(const Plan& plan, const Inputs& inputs, std::int64_t l) const {
    const Sizes& sizes = plan.sizes;
    const std::int64_t R = sizes.residual, S = sizes.skip, K = sizes.kernel_size, width = plan.kernels.width;
    const float* of_residual = inputs.residual + l * R * R;
    pack_stack_matrix(width, plan.r, false, R, residual + l * residual_floats,
                      [&](std::int64_t o, std::int64_t i) { return o < R ? of_residual[i * R + o] : 0.0f; });
    const float* of_skip = inputs.skip + l * S * R;
    pack_stack_matrix(width, plan.r, false, S, skip + l * skip_floats,
                      [&](std::int64_t o, std::int64_t i) { return o < R ? of_skip[i * R + o] : 0.0f; });
    const float* of_dilated = inputs.dilated + l * 2 * R * R * K;
    const Dilated convolution = plan.dilated(l).opposite();
    for (std::int64_t product = 0; product < convolution.products(); ++product) {
      pack_stack_matrix(width, plan.r, false, 2 * plan.r, dilated + l * dilated_floats + product * product_floats,
                        [&](std::int64_t o, std::int64_t i) {
                          const std::int64_t row = plan.half_channel(i);
                          if (o >= R || row < 0) return 0.0f;
                          return convolution.weight(
                              product, [&](std::int64_t k) { return of_dilated[(row * R + o) * K + K - 1 - k]; });
                        });
    }
  }
};

// The weight gradients of a layer and those of its condition.
class WeightSums {
 public:
  WeightSums(const Plan& plan, const Saved& saved, const BackwardScratch& scratch, const Gradients& gradients)
      : plan_(plan), sizes_(plan.sizes), at_(plan), saved_(saved), scratch_(scratch), gradients_(gradients) {}

  void clear(std::int64_t block) const { std::fill_n(scratch_.sums + block * at_.floats, at_.floats, 0.0f); }

  // Adds a span's share to its block's sums; dx (null behind the last layer, which nobody reads) and ds are the span's
  // rows.
  void add(const Member& member, std::int64_t block, std::int64_t l, const Dilated& dilated, const float* dx,
           const float* ds) const {
    float* sums = scratch_.sums + block * at_.floats;
    const SpanRows& rows = member.rows;
    if (gradients_.condition != nullptr) add_frames(rows);
    if (gradients_.dilated != nullptr) {
      dilated.add_gradients(rows, scratch_.dh, scratch_.h_stride, 2 * plan_.r, saved_.x + l * plan_.rows * plan_.r,
                            plan_.r, plan_.r, plan_.kernels, scratch_.panels + member.index * scratch_.panel_floats,
                            sums + at_.dilated);
    }
    const float* gates = saved_.gates + (l * plan_.rows + rows.first) * 2 * plan_.r;
    if (gradients_.skip != nullptr) add_times_z(ds, scratch_.s_stride, gates, rows, plan_.s, sums + at_.skip);
    if (dx == nullptr) return;
    if (gradients_.residual != nullptr) add_times_z(dx, scratch_.x_stride, gates, rows, plan_.r, sums + at_.residual);
    if (gradients_.residual_bias != nullptr) {
      plan_.kernels.column_sums(dx, scratch_.x_stride, rows.count(), plan_.r, sums + at_.residual_bias);
    }
  }

  // Adds up the blocks' sums and writes the gradients of layer l: one member's share of them.
  void write(std::int64_t l, const Member& member) const {
    const Dilated dilated = plan_.dilated(l);
    const std::int64_t blocks = plan_.spans(l).blocks(), products = dilated.products(), r = plan_.r;
    const Range outputs = member.share(2 * r);
    for (std::int64_t product = 0; product < products; ++product) {
      add_up(blocks, at_.dilated + (product * 2 * r + outputs.begin) * r, (outputs.end - outputs.begin) * r);
    }
    if (gradients_.dilated != nullptr) {
      for (std::int64_t o = outputs.begin; o < outputs.end; ++o) write_dilated(l, dilated, o);
    }
    const std::int64_t others = r + plan_.s + 1;  // rows of r floats, in the order of the sums
    const Range mine = member.share(others);
    add_up(blocks, at_.residual + mine.begin * r, (mine.end - mine.begin) * r);
    for (std::int64_t row = mine.begin; row < mine.end; ++row) write_row(l, row);
    if (gradients_.condition != nullptr) {
      const Range frames = member.share(sizes_.batch * sizes_.frames);
      for (std::int64_t frame = frames.begin; frame < frames.end; ++frame) {
        write_frame(dilated.groups, l, frame / sizes_.frames, frame % sizes_.frames);
      }
    }
  }

 private:
  // The first rows of the span's groups are in the order of time, and so are the second ones: rows of the same frame
  // are neighbours among them.
  void add_frames(const SpanRows& rows) const {
    std::int64_t i = 0;
    for (const int member : {0, 1}) {
      const std::int64_t end = i + rows.counts[member];
      while (i < end) {
        const std::int64_t first = i, frame = rows.frames[i];
        while (i < end && rows.frames[i] == frame) ++i;
        float* to = frame_sums(member, rows.span.sequence, rows.span.begin / kSpanGroups, frame);
        std::fill_n(to, 2 * plan_.r, 0.0f);
        add_places(scratch_.dh, scratch_.h_stride, rows, first, i, 2 * plan_.r, plan_.kernels, to);
      }
    }
  }

  // Of the part of a frame (counted over all sequences) that is first, or second, rows of groups in one span. Going on
  // in time, the span or the frame rises, so that no two parts have the same place.
  float* frame_sums(int member, std::int64_t b, std::int64_t span, std::int64_t frame) const {
    const std::int64_t part = span + frame - b * sizes_.frames;
    return scratch_.frames + ((b * 2 + member) * plan_.pieces() + part) * 2 * plan_.r;
  }

  void add_times_z(const float* left, std::int64_t left_stride, const float* gates, const SpanRows& rows,
                   std::int64_t outputs, float* sums) const {
    StackGradient call;
    call.left_stride = left_stride;
    call.right_stride = 2 * plan_.r;
    call.outputs = outputs;
    call.inputs = plan_.r;
    call.sums = sums;
    std::int64_t first = 0;
    for (const int member : {0, 1}) {
      call.left = left + first * left_stride;
      call.right = gates + first * 2 * plan_.r;  // z is the product of the two
      call.factor = call.right + plan_.r;
      call.rows = rows.counts[member];
      if (call.rows > 0) plan_.kernels.gradient(call);
      first += call.rows;
    }
  }

  // Into the first block's sums, from `at` on.
  void add_up(std::int64_t blocks, std::int64_t at, std::int64_t floats) const {
    float* total = scratch_.sums + at;
    for (std::int64_t block = 1; block < blocks; ++block) {
      plan_.kernels.add(total + block * at_.floats, floats, total);
    }
  }

  void write_dilated(std::int64_t l, const Dilated& dilated, std::int64_t padded_output) const {
    const std::int64_t R = sizes_.residual, K = sizes_.kernel_size, r = plan_.r;
    const std::int64_t output = plan_.half_channel(padded_output);
    if (output < 0) return;
    const float* sums = scratch_.sums + at_.dilated + padded_output * r;
    float* to = gradients_.dilated + (l * 2 * R + output) * R * K;
    for (std::int64_t i = 0; i < R; ++i) {
      for (std::int64_t k = 0; k < K; ++k) {
        to[i * K + k] = dilated.gradient(k, [&](std::int64_t product) { return sums[product * 2 * r * r + i]; });
      }
    }
  }

  // One row of r sums, of whatever other weight it is.
  void write_row(std::int64_t l, std::int64_t row) const {
    const std::int64_t R = sizes_.residual, S = sizes_.skip;
    const float* sums = scratch_.sums + at_.residual + row * plan_.r;
    const auto copy = [&](float* gradient, std::int64_t output, std::int64_t outputs) {
      if (gradient != nullptr && output < outputs) std::copy_n(sums, R, gradient + (l * outputs + output) * R);
    };
    if (row < plan_.r) return copy(gradients_.residual, row, R);
    row -= plan_.r;
    if (row < plan_.s) return copy(gradients_.skip, row, S);
    if (gradients_.residual_bias != nullptr) std::copy_n(sums, R, gradients_.residual_bias + l * R);
  }

  void write_frame(const RowGroups& groups, std::int64_t l, std::int64_t b, std::int64_t f) const {
    const std::int64_t begin = f * sizes_.pool, end = std::min(begin + sizes_.pool, sizes_.time);
    float* to = gradients_.condition + ((l * sizes_.batch + b) * sizes_.frames + f) * 2 * sizes_.residual;
    std::fill_n(to, 2 * sizes_.residual, 0.0f);
    for (int member = 0; member < groups.size(); ++member) {
      const std::int64_t late = member * groups.step;  // rows t of `member` are in the group that begins at t - late
      const std::int64_t first = groups.before(begin - late), behind = groups.before(end - late);
      for (std::int64_t g = first; g < behind; g = (g / kSpanGroups + 1) * kSpanGroups) {
        const float* sums = frame_sums(member, b, g / kSpanGroups, b * sizes_.frames + f);
        for (std::int64_t c = 0; c < sizes_.residual; ++c) {
          to[c] += sums[c];
          to[sizes_.residual + c] += sums[plan_.r + c];
        }
      }
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

  // The span's rows of dx and ds, one after the other.
  struct Outputs {
    const float *dx, *ds;
  };
  Outputs outputs(const Member& member) const {
    const SpanRows& rows = member.rows;
    if (!opposite.groups.paired) {  // as they are
      return {dx + rows.places[0] * scratch.x_stride, scratch.ds + rows.places[0] * scratch.s_stride};
    }
    float* span_dx = scratch.span_dx + member.index * kMostSpanRows * scratch.x_stride;
    float* span_ds = scratch.span_ds + member.index * kMostSpanRows * scratch.s_stride;
    copy_places(dx, scratch.x_stride, rows, plan.r, span_dx, scratch.x_stride);
    copy_places(scratch.ds, scratch.s_stride, rows, plan.s, span_ds, scratch.s_stride);
    return {span_dx, span_ds};
  }

  void gates(const Member& member, const Outputs& of) const {
    const SpanRows& rows = member.rows;
    const bool has_residual = layer + 1 < plan.sizes.layers;
    const StackTerm terms[] = {
        {of.ds, scratch.s_stride, plan.sizes.skip, scratch.skip + layer * scratch.skip_floats},
        {of.dx, scratch.x_stride, plan.sizes.residual, scratch.residual + layer * scratch.residual_floats}};
    StackRows call;
    call.terms = terms;
    call.term_count = has_residual ? 2 : 1;
    call.rows = rows.count();
    call.outputs = plan.r;
    call.places = rows.places;
    call.y = scratch.dh;
    call.y_stride = scratch.h_stride;
    call.read = saved.gates + (layer * plan.rows + rows.first) * 2 * plan.r;
    call.saved_stride = 2 * plan.r;
    plan.kernels.rows_gated_gradient(call);
  }

  void inputs(Member& member) const {
    StackRows call;
    call.outputs = plan.r;
    call.base = dx;
    call.y = to;
    call.base_stride = call.y_stride = scratch.x_stride;
    opposite.multiply(member, scratch.dh, scratch.h_stride, 2 * plan.r,
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

}  // namespace gated

using namespace gated;

void gated_residual_stack_backward(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs<float>& inputs,
                                   const float* result_gradient, const GatedResidualStackGradients<float>& gradients,
                                   const void* saved_memory, void* scratch_memory, int threads, Isa isa) {
  const Plan plan(sizes, isa);
  const std::int64_t R = sizes.residual, S = sizes.skip, K = sizes.kernel_size, L = sizes.layers;
  if (plan.rows == 0 || L == 0) {
    const auto zero = [](float* at, std::int64_t count) {
      if (at != nullptr) std::fill_n(at, count, 0.0f);
    };
    zero(gradients.x, plan.rows * R);
    zero(gradients.condition, L * sizes.batch * sizes.frames * 2 * R);
    zero(gradients.dilated, L * 2 * R * R * K);
    zero(gradients.residual, L * R * R);
    zero(gradients.residual_bias, L * R);
    zero(gradients.skip, L * S * R);
    return;
  }
  Carver saved_carver(const_cast<void*>(saved_memory)), scratch_carver(scratch_memory);
  const Saved saved(plan, saved_carver);
  const BackwardScratch scratch(plan, threads, scratch_carver);
  const WeightSums sums(plan, saved, scratch, gradients);

  run_members(threads, plan.in_order.blocks(), Dilated::most_products(K), [&](Member& member) {
    const Range layers = member.share(L), rows = member.share(plan.rows);
    const std::int64_t count = rows.end - rows.begin;
    for (std::int64_t l = layers.begin; l < layers.end; ++l) scratch.pack(plan, inputs, l);
    copy_rows(result_gradient + rows.begin * S, S, scratch.ds + rows.begin * scratch.s_stride, scratch.s_stride, count,
              S, plan.s);
    std::fill_n(scratch.dx[L % 2] + rows.begin * scratch.x_stride, count * scratch.x_stride, 0.0f);
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
          if (gradients.condition != nullptr) member.rows.list_frames(sizes.pool, sizes.frames);
          const LayerBackward::Outputs outputs = layer.outputs(member);
          layer.gates(member, outputs);
          sums.add(member, block, l, dilated, l + 1 < L ? outputs.dx : nullptr, outputs.ds);
          second.after(index, of_inputs);
        }
      }
      member.meeting.wait();
      sums.write(l, member);
      second.rest(of_inputs);
    }
    if (gradients.x == nullptr) return;
    member.meeting.wait();
    copy_rows(scratch.dx[0] + rows.begin * scratch.x_stride, scratch.x_stride, gradients.x + rows.begin * R, R, count,
              R, R);
  });
}

}  // namespace musicstar::cpu
