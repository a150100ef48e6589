// The decoder's residual stack in fp32, backward. Per layer, with meetings of all threads where marked:
//
//   dh = (residual^T dx_{l+1} + skip^T ds) through the gate, span by span, and while it is in the cache
//   the sums of dh, dx_{l+1}, ds with x_l and z over time, for each block of spans           blocks shared out
//   ---
//   the blocks' sums added up                                                                outputs shared out
//   dx_l = dx_{l+1} + sum_k dilated_k^T dh[t + delay_k]                                      spans shared out
//   ---
#include <algorithm>

#include "cpu/gated_residual_stack.h"

namespace musicstar::cpu {

namespace gated {

namespace {

// The sums of a layer's weight gradients, padded, one after the other.
struct Sums {
  std::int64_t dilated, residual, skip, residual_bias;  // where each begins: [K][2 r][r], [r][r], [s][r], [r]
  std::int64_t floats;

  explicit Sums(const Plan& plan)
      : dilated(0),
        residual(plan.sizes.kernel_size * 2 * plan.r * plan.r),
        skip(residual + plan.r * plan.r),
        residual_bias(skip + plan.s * plan.r),
        floats(padded(residual_bias + plan.r, kLineFloats)) {}
};

struct BackwardScratch {
  std::int64_t out_floats, dilated_floats, residual_floats, skip_floats;
  std::int64_t h_stride, x_stride, s_stride;
  float *residual, *skip;  // [L], transposed and packed: to z
  float* dilated;          // [L][K], transposed and packed: to x
  float* ds;               // [rows][s]
  float* dx[2];            // [rows][r]
  float* dh;               // [rows][2 r]
  float* sums;             // [blocks] of Sums
  float* frames;           // [pieces of frames][2 r]: the sums of dh over each

  BackwardScratch(const Plan& plan, Carver& carver) {
    const Sizes& sizes = plan.sizes;
    h_stride = scattered(2 * plan.r);
    x_stride = scattered(plan.r);
    s_stride = scattered(plan.s);
    residual_floats = packed_stack_floats(plan.r, false, sizes.residual);
    skip_floats = packed_stack_floats(plan.r, false, sizes.skip);
    dilated_floats = packed_stack_floats(plan.r, false, 2 * plan.r);
    out_floats = sizes.kernel_size * dilated_floats;
    residual = carver.floats(sizes.layers * residual_floats);
    skip = carver.floats(sizes.layers * skip_floats);
    dilated = carver.floats(sizes.layers * out_floats);
    ds = carver.floats(plan.rows * s_stride);
    for (float*& each : dx) each = carver.floats(plan.rows * x_stride);
    dh = carver.floats(plan.rows * h_stride);
    sums = carver.floats(plan.spans.blocks() * Sums(plan).floats);
    frames = carver.floats(sizes.batch * plan.pieces() * 2 * plan.r);
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
    for (std::int64_t k = 0; k < K; ++k) {
      pack_stack_matrix(width, plan.r, false, 2 * plan.r, dilated + l * out_floats + k * dilated_floats,
                        [&](std::int64_t o, std::int64_t i) {
                          const std::int64_t row = plan.half_channel(i);
                          return o < R && row >= 0 ? of_dilated[(row * R + o) * K + k] : 0.0f;
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

  // Adds a span's share to its block's sums. Nobody reads x after the last layer: it has no `dx`.
  void add(std::int64_t block, std::int64_t l, const float* dx, std::int64_t b, std::int64_t begin,
           std::int64_t end) const {
    float* sums = scratch_.sums + block * at_.floats;
    const std::int64_t row = b * sizes_.time + begin, rows = end - begin;
    if (gradients_.condition != nullptr) add_frames(b, begin, end);
    if (gradients_.dilated != nullptr) add_dilated(l, b, begin, end, sums + at_.dilated);
    const float* gates = saved_.gates + (l * plan_.rows + row) * 2 * plan_.r;
    if (gradients_.skip != nullptr) {
      add_times_z(scratch_.ds + row * scratch_.s_stride, scratch_.s_stride, gates, rows, plan_.s, sums + at_.skip);
    }
    if (dx == nullptr) return;
    dx += row * scratch_.x_stride;
    if (gradients_.residual != nullptr) {
      add_times_z(dx, scratch_.x_stride, gates, rows, plan_.r, sums + at_.residual);
    }
    if (gradients_.residual_bias != nullptr) {
      plan_.kernels.column_sums(dx, scratch_.x_stride, rows, plan_.r, sums + at_.residual_bias);
    }
  }

  // Adds up the blocks' sums and writes the gradients of layer l: one member's share of them.
  void write(std::int64_t l, const Member& member) const {
    const std::int64_t R = sizes_.residual, S = sizes_.skip, K = sizes_.kernel_size;
    const std::int64_t rows = K * 2 * plan_.r + plan_.r + plan_.s + 1;  // of r floats, in the order of the sums
    const Range mine = member.share(rows);
    float* total = scratch_.sums + mine.begin * plan_.r;
    for (std::int64_t block = 1; block < plan_.spans.blocks(); ++block) {
      plan_.kernels.add(total + block * at_.floats, (mine.end - mine.begin) * plan_.r, total);
    }
    for (std::int64_t row = mine.begin; row < mine.end; ++row) write_row(l, row, R, S, K);
    if (gradients_.condition != nullptr) {
      const Range frames = member.share(sizes_.batch * sizes_.frames);
      for (std::int64_t frame = frames.begin; frame < frames.end; ++frame) {
        write_frame(l, frame / sizes_.frames, frame % sizes_.frames);
      }
    }
  }

 private:
  void add_frames(std::int64_t b, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t t = begin; t < end;) {
      const std::int64_t piece_end = std::min((t / sizes_.pool + 1) * sizes_.pool, end);
      float* to = frame_sums(b, t);
      std::fill_n(to, 2 * plan_.r, 0.0f);
      plan_.kernels.column_sums(scratch_.dh + (b * sizes_.time + t) * scratch_.h_stride, scratch_.h_stride,
                                piece_end - t, 2 * plan_.r, to);
      t = piece_end;
    }
  }

  // Of the piece of a frame that lies in one span and begins at t.
  float* frame_sums(std::int64_t b, std::int64_t t) const {
    return scratch_.frames + (b * plan_.pieces() + t / kSpanRows + t / sizes_.pool) * 2 * plan_.r;
  }

  void add_dilated(std::int64_t l, std::int64_t b, std::int64_t begin, std::int64_t end, float* sums) const {
    const Taps taps = plan_.past(l);
    for (std::int64_t k = 0; k < taps.count; ++k) {
      const Range inside = taps.inside(k, begin, end);
      if (inside.begin >= inside.end) continue;
      const std::int64_t row = b * sizes_.time + inside.begin;
      StackGradient call;
      call.left = scratch_.dh + row * scratch_.h_stride;
      call.left_stride = scratch_.h_stride;
      call.right = saved_.x + (l * plan_.rows + row + taps.offsets[k]) * plan_.r;
      call.right_stride = plan_.r;
      call.rows = inside.end - inside.begin;
      call.outputs = 2 * plan_.r;
      call.inputs = plan_.r;
      call.sums = sums + k * 2 * plan_.r * plan_.r;
      plan_.kernels.gradient(call);
    }
  }

  void add_times_z(const float* left, std::int64_t left_stride, const float* gates, std::int64_t rows,
                   std::int64_t outputs, float* sums) const {
    StackGradient call;
    call.left = left;
    call.left_stride = left_stride;
    call.right = gates;  // z is the product of the two
    call.factor = gates + plan_.r;
    call.right_stride = 2 * plan_.r;
    call.rows = rows;
    call.outputs = outputs;
    call.inputs = plan_.r;
    call.sums = sums;
    plan_.kernels.gradient(call);
  }

  // One row of r sums, of whatever weight it is.
  void write_row(std::int64_t l, std::int64_t row, std::int64_t R, std::int64_t S, std::int64_t K) const {
    const float* sums = scratch_.sums + row * plan_.r;
    const auto copy = [&](float* gradient, std::int64_t output, std::int64_t outputs) {
      if (gradient != nullptr && output < outputs) std::copy_n(sums, R, gradient + (l * outputs + output) * R);
    };
    if (row < K * 2 * plan_.r) {
      const std::int64_t k = row / (2 * plan_.r), output = plan_.half_channel(row % (2 * plan_.r));
      if (gradients_.dilated == nullptr || output < 0) return;
      float* to = gradients_.dilated + (l * 2 * R + output) * R * K + k;
      for (std::int64_t i = 0; i < R; ++i) to[i * K] = sums[i];
      return;
    }
    row -= K * 2 * plan_.r;
    if (row < plan_.r) return copy(gradients_.residual, row, R);
    row -= plan_.r;
    if (row < plan_.s) return copy(gradients_.skip, row, S);
    if (gradients_.residual_bias != nullptr) std::copy_n(sums, R, gradients_.residual_bias + l * R);
  }

  void write_frame(std::int64_t l, std::int64_t b, std::int64_t f) const {
    const std::int64_t end = std::min((f + 1) * sizes_.pool, sizes_.time);
    float* to = gradients_.condition + ((l * sizes_.batch + b) * sizes_.frames + f) * 2 * sizes_.residual;
    std::fill_n(to, 2 * sizes_.residual, 0.0f);
    for (std::int64_t t = f * sizes_.pool; t < end; t = (t / kSpanRows + 1) * kSpanRows) {
      const float* sums = frame_sums(b, t);
      for (std::int64_t c = 0; c < sizes_.residual; ++c) {
        to[c] += sums[c];
        to[sizes_.residual + c] += sums[plan_.r + c];
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
  const float* dx;  // of the layer's output
  float* to;        // of its input

  void gates(std::int64_t b, std::int64_t begin, std::int64_t end) const {
    const std::int64_t row = b * plan.sizes.time + begin;
    const bool has_residual = layer + 1 < plan.sizes.layers;
    const StackTerm terms[] = {{scratch.ds + row * scratch.s_stride, scratch.s_stride, plan.sizes.skip,
                                scratch.skip + layer * scratch.skip_floats},
                               {dx + row * scratch.x_stride, scratch.x_stride, plan.sizes.residual,
                                scratch.residual + layer * scratch.residual_floats}};
    StackRows call;
    call.terms = terms;
    call.term_count = has_residual ? 2 : 1;
    call.rows = end - begin;
    call.outputs = plan.r;
    call.y = scratch.dh + row * scratch.h_stride;
    call.y_stride = scratch.h_stride;
    call.read = saved.gates + (layer * plan.rows + row) * 2 * plan.r;
    call.saved_stride = 2 * plan.r;
    plan.kernels.rows_gated_gradient(call);
  }

  void inputs(Member& member, std::int64_t b, std::int64_t begin, std::int64_t end) const {
    const std::int64_t first_row = b * plan.sizes.time;
    plan.future(layer).for_each_piece(
        begin, end, scratch.dh + first_row * scratch.h_stride, scratch.h_stride, 2 * plan.r,
        scratch.dilated + layer * scratch.out_floats, scratch.dilated_floats, member.terms.data(),
        [&](std::int64_t from, std::int64_t until, const StackTerm* terms, std::int64_t count) {
          StackRows call;
          call.terms = terms;
          call.term_count = count;
          call.rows = until - from;
          call.outputs = plan.r;
          call.base = dx + (first_row + from) * scratch.x_stride;
          call.y = to + (first_row + from) * scratch.x_stride;
          call.base_stride = call.y_stride = scratch.x_stride;
          plan.kernels.rows_add(call);
        });
  }
};

}  // namespace

std::int64_t backward_scratch(const Plan& plan, int) {
  Carver carver(nullptr);
  const BackwardScratch scratch(plan, carver);
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
  const BackwardScratch scratch(plan, scratch_carver);
  const WeightSums sums(plan, saved, scratch, gradients);

  run_members(threads, plan.spans.blocks(), K, [&](Member& member) {
    const Range layers = member.share(L), blocks = member.share(plan.spans.blocks());
    const Range own{plan.spans.block(blocks.begin).begin, plan.spans.block(blocks.end - 1).end};
    for (std::int64_t l = layers.begin; l < layers.end; ++l) scratch.pack(plan, inputs, l);
    plan.spans.for_each(own, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
      const std::int64_t row = b * sizes.time + begin, rows = end - begin;
      copy_rows(result_gradient + row * S, S, scratch.ds + row * scratch.s_stride, scratch.s_stride, rows, S, plan.s);
      std::fill_n(scratch.dx[L % 2] + row * scratch.x_stride, rows * scratch.x_stride, 0.0f);
    });
    for (std::int64_t l = L - 1; l >= 0; --l) {
      member.meeting.wait();
      const LayerBackward layer{plan, saved, scratch, l, scratch.dx[(l + 1) % 2], scratch.dx[l % 2]};
      const auto of_inputs = [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
        if (l > 0 || gradients.x != nullptr) layer.inputs(member, b, begin, end);
      };
      SecondPass second(plan.spans, plan.future(l), own);
      for (std::int64_t block = blocks.end; block-- > blocks.begin;) {
        sums.clear(block);
        const Range in_block = plan.spans.block(block);
        for (std::int64_t index = in_block.end; index-- > in_block.begin;) {
          const Spans::Span span = plan.spans.at(index);
          layer.gates(span.sequence, span.begin, span.end);
          sums.add(block, l, l + 1 < L ? layer.dx : nullptr, span.sequence, span.begin, span.end);
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
      copy_rows(scratch.dx[0] + row * scratch.x_stride, scratch.x_stride, gradients.x + row * R, R, end - begin, R, R);
    });
  });
}

}  // namespace musicstar::cpu
