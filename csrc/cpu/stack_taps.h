// The taps of a dilated convolution over sequences, and the terms that they are in products of rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/stack_kernels.h"
#include "cpu/thread_team.h"

namespace musicstar::cpu {

// Tap k of row t reads row t + first + k step, zero where that is outside of the sequence.
struct Taps {
  std::int64_t first, step, count, time;

  std::int64_t offset(std::int64_t k) const { return first + k * step; }

  // Those by which a gradient goes back from the outputs to the inputs: in the opposite order, tap k of these has the
  // weights of tap count - 1 - k.
  Taps opposite() const { return {-offset(count - 1), step, count, time}; }

  // Rows t of [begin, end) for which tap k reads inside of the sequence.
  ThreadTeam::Range inside(std::int64_t k, std::int64_t begin, std::int64_t end) const {
    const std::int64_t from = std::max(begin, -offset(k));
    return {from, std::max(from, std::min(end, time - offset(k)))};
  }
  // Products of a row of inputs with a tap's weights that a whole sequence takes.
  std::int64_t products() const {
    std::int64_t rows = 0;
    for (std::int64_t k = 0; k < count; ++k) rows += std::max<std::int64_t>(time - std::abs(offset(k)), 0);
    return rows;
  }

  // Cuts [begin, end) where a tap enters or leaves the sequence, so that in each piece a tap reads inside for all rows
  // or for none, and calls body(begin, end, terms, count): the terms of the taps that do. x and its weights are for
  // row 0 of the sequence; `weight_floats` lead from one tap's weights to the next one's.
  template <class Body>
  void for_each_piece(std::int64_t begin, std::int64_t end, const float* x, std::int64_t stride, std::int64_t inputs,
                      const float* weights, std::int64_t weight_floats, StackTerm* terms, Body&& body) const {
    while (begin < end) {
      std::int64_t cut = end, inside_count = 0;
      for (std::int64_t k = 0; k < count; ++k) {
        const ThreadTeam::Range rows = inside(k, begin, cut);
        if (rows.begin >= rows.end) continue;
        if (rows.begin > begin) {
          cut = rows.begin;
        } else {
          cut = rows.end;
          terms[inside_count++] = {x + (begin + offset(k)) * stride, stride, inputs, weights + k * weight_floats};
        }
      }
      body(begin, cut, terms, inside_count);
      begin = cut;
    }
  }
};

}  // namespace musicstar::cpu
