// A layer's dilated convolution over the spans of its rows: forward, to the inputs' gradient (the same with the taps in
// opposite order) and to the weights' gradients. Tap by tap, or, where that takes fewer products, by pairs of rows
// (stack_pairs.h): then a convolution of K taps has K + 1 products, each with a weight of its own made of those of the
// taps, and as many sums of weight gradients, of which those of the taps are made.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/stack_memory.h"
#include "cpu/stack_taps.h"
#include "cpu/stack_work.h"

namespace musicstar::cpu {

// A span's rows of x, one after the other.
inline void copy_places(const float* x, std::int64_t stride, const SpanRows& rows, std::int64_t columns, float* to,
                        std::int64_t to_stride) {
  for (std::int64_t i = 0; i < rows.count(); ++i) std::copy_n(x + rows.places[i] * stride, columns, to + i * to_stride);
}

// Adds rows [begin, end) of a span, which stand apart in x, to sums [columns].
inline void add_places(const float* x, std::int64_t stride, const SpanRows& rows, std::int64_t begin, std::int64_t end,
                       std::int64_t columns, const StackKernels& kernels, float* sums) {
  while (begin < end) {
    const float* first = x + rows.places[begin] * stride;
    std::int64_t count = 1;  // neighbours
    while (begin + count < end && rows.places[begin + count] == rows.places[begin] + count) ++count;
    kernels.column_sums(first, stride, count, columns, sums);
    begin += count;
  }
}

struct Dilated {
  Taps taps;
  RowGroups groups;

  Dilated(const Taps& of, std::int64_t channels) : taps(of), groups{of.time, of.step, false} {
    if (channels < kLeastPairedChannels || taps.count < 2 || taps.count > 3) return;
    RowGroups pairs{of.time, of.step, true};
    const std::int64_t products = taps.count * pairs.count(0) + pairs.count(1);
    if (10 * products <= 9 * taps.products()) groups = pairs;  // dilations near the length read little but zeros
  }

  Dilated opposite() const {
    Dilated result = *this;
    result.taps = taps.opposite();
    return result;
  }

  // Matrices that inputs are multiplied with.
  std::int64_t products() const { return groups.paired ? taps.count + 1 : taps.count; }
  static std::int64_t most_products(std::int64_t taps) { return taps + 1; }

  // The weight of a product, `at(k)` being that of tap k.
  template <class At>
  float weight(std::int64_t product, At&& at) const {
    if (!groups.paired) return at(product);
    if (product == 0) return at(0);
    if (product == taps.count) return at(taps.count - 1);
    if (taps.count == 2) return at(0) + at(1);
    return 0.5f * (product == 1 ? (at(0) + at(2)) + at(1) : (at(0) + at(2)) - at(1));
  }
  // The gradient of tap k's weight, `of(product)` being the sums of the products.
  template <class Of>
  float gradient(std::int64_t k, Of&& of) const {
    if (!groups.paired) return of(k);
    if (taps.count == 2) return k == 0 ? of(0) + of(1) : of(2) + of(1);
    if (k == 1) return 0.5f * (of(1) - of(2));
    return (k == 0 ? of(0) : of(3)) + 0.5f * (of(1) + of(2));
  }

  // Groups that are read by the second pass of a group, relative to it.
  SecondPass second_pass(const Spans& spans, ThreadTeam::Range own) const {
    if (!groups.paired) return {spans, taps.offset(0), taps.offset(taps.count - 1), own};
    const auto row = [&](std::int64_t steps) { return (steps >= 0 ? steps : steps - 1) / 2 * groups.step; };
    const std::int64_t least = taps.first / taps.step;
    return {spans, row(least), row(least + taps.count), own};
  }

  // The rows of a span: y as the kernels' epilogue makes it, of the sum over taps and what `call` says. x [rows of all
  // sequences], its weights packed for the products one after the other; `panels` has room for what `pairs_floats`
  // says.
  void multiply(Member& member, const float* x, std::int64_t stride, std::int64_t inputs, const float* weights,
                std::int64_t weight_floats, StackKernels::Rows by_taps, StackKernels::Pairs by_pairs, StackRows call,
                const StackKernels& kernels, float* panels) const {
    const SpanRows& rows = member.rows;
    call.places = rows.places;
    call.bias_rows = rows.frames;
    if (!groups.paired) {
      const std::int64_t begin = rows.span.begin;
      taps.for_each_piece(begin, rows.span.end, x + rows.sequence_row * stride, stride, inputs, weights, weight_floats,
                          member.terms.data(),
                          [&](std::int64_t from, std::int64_t to, const StackTerm* terms, std::int64_t count) {
                            call.terms = terms;
                            call.term_count = count;
                            call.first = from - begin;
                            call.rows = to - from;
                            by_taps(call);
                          });
      return;
    }
    const std::int64_t panel_stride = scattered(inputs), panel_floats = kSpanGroups * panel_stride;
    input_panels(rows, x, stride, inputs, kernels, panels, panel_stride, panel_floats);
    for (std::int64_t product = 0; product < products(); ++product) {
      member.terms[static_cast<std::size_t>(product)] = {panels + product * panel_floats, panel_stride, inputs,
                                                         weights + product * weight_floats};
    }
    call.terms = member.terms.data();
    call.term_count = products();
    by_pairs(call, rows.counts);
  }

  // Adds a span's share to sums [products][outputs][inputs] of the weights' gradients; dy and x [rows of all
  // sequences], padded.
  void add_gradients(const SpanRows& rows, const float* dy, std::int64_t dy_stride, std::int64_t outputs,
                     const float* x, std::int64_t x_stride, std::int64_t inputs, const StackKernels& kernels,
                     float* panels, float* sums) const {
    StackGradient call;
    call.outputs = outputs;
    call.inputs = inputs;
    if (!groups.paired) {
      call.left_stride = dy_stride;
      call.right_stride = x_stride;
      for (std::int64_t k = 0; k < taps.count; ++k) {
        const ThreadTeam::Range inside = taps.inside(k, rows.span.begin, rows.span.end);
        call.rows = inside.end - inside.begin;
        if (call.rows == 0) continue;
        const std::int64_t row = rows.sequence_row + inside.begin;
        call.left = dy + row * dy_stride;
        call.right = x + (row + taps.offset(k)) * x_stride;
        call.sums = sums + k * outputs * inputs;
        kernels.gradient(call);
      }
      return;
    }
    call.left_stride = scattered(outputs);
    call.right_stride = scattered(inputs);
    const std::int64_t left_floats = kSpanGroups * call.left_stride, right_floats = kSpanGroups * call.right_stride;
    float* right = panels + products() * left_floats;
    StackPanels left_call = panels_of(rows, dy, dy_stride, outputs, panels, call.left_stride, left_floats);
    kernels.gradient_panels(left_call);
    input_panels(rows, x, x_stride, inputs, kernels, right, call.right_stride, right_floats);
    for (std::int64_t product = 0; product < products(); ++product) {
      call.left = panels + product * left_floats;
      call.right = right + product * right_floats;
      call.rows = rows.counts[product < taps.count ? 0 : 1];
      call.sums = sums + product * outputs * inputs;
      if (call.rows > 0) kernels.gradient(call);
    }
  }

  // Room for the panels of `multiply` and of `add_gradients`, for convolutions of up to this many taps.
  static std::int64_t multiply_floats(std::int64_t taps, std::int64_t inputs) {
    return most_products(taps) * kSpanGroups * scattered(inputs);
  }
  static std::int64_t gradient_floats(std::int64_t taps, std::int64_t outputs, std::int64_t inputs) {
    return multiply_floats(taps, outputs) + multiply_floats(taps, inputs);
  }

 private:
  StackPanels panels_of(const SpanRows& rows, const float* x, std::int64_t stride, std::int64_t columns, float* to,
                        std::int64_t to_stride, std::int64_t panel_floats) const {
    StackPanels call;
    call.x = x + rows.sequence_row * stride;
    call.stride = stride;
    call.columns = columns;
    call.taps = taps.count;
    call.places = rows.places;
    call.sequence_row = rows.sequence_row;
    call.counts[0] = rows.counts[0];
    call.counts[1] = rows.counts[1];
    call.to = to;
    call.to_stride = to_stride;
    call.panel_floats = panel_floats;
    return call;
  }
  void input_panels(const SpanRows& rows, const float* x, std::int64_t stride, std::int64_t columns,
                    const StackKernels& kernels, float* to, std::int64_t to_stride, std::int64_t panel_floats) const {
    StackPanels call = panels_of(rows, x, stride, padded(columns, kernels.width), to, to_stride, panel_floats);
    call.first = taps.first;
    call.step = taps.step;
    call.time = taps.time;
    kernels.input_panels(call);
  }
};

}  // namespace musicstar::cpu
