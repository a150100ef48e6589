// What is compiled once per instruction set: a table of plain functions over plain structs.
//
// The files behind it (kernels_*.cpp) see no standard container and no inline std:: template: the linker keeps one copy
// of such a template for the whole program, and it might be the AVX-512 one. Memory, threads and positions are the
// engines'.
//
// Every row vector is padded to a multiple of `tile` floats; padded weights are zero, so padded results are zero as
// well.
#pragma once

#include <cstdint>

#include "musicstar/isa.h"

namespace musicstar::cpu {

// How a precision stores activations and weights (precisions.h). Neighbouring inputs form groups of 32 bits.
struct RowFormat {
  static constexpr std::int64_t kLargestTrailer = 64;
  std::int64_t group;          // inputs a group
  std::int64_t weight_bytes;   // a weight
  std::int64_t element_bytes;  // an activation
  std::int64_t trailer_bytes;  // behind a row's elements: its scale
  std::int32_t offset;         // of an activation's elements around zero
  // Products of two neighbouring inputs meet in 16 bits before they are added to the sum: 255 (w + w') must fit.
  bool in_16_bits;

  constexpr std::int64_t row_bytes(std::int64_t floats) const { return floats * element_bytes + trailer_bytes; }
};

// A weight matrix of `in` x `out`, packed in tiles of `tile` outputs: [out / tile][groups][tile][group].
struct PackedMatrix {
  const char* weight = nullptr;
  std::int64_t groups = 0;                    // of inputs, the last one filled up with zeros
  std::int64_t tiles = 0;                     // padded outputs / tile
  std::int64_t row_floats = 0;                // padded inputs: where a row of activations keeps its scale
  const float* bias = nullptr;                // added to every row's start, where there is one
  const float* scales = nullptr;              // int8: per output
  const std::int32_t* corrections = nullptr;  // int8: what the activations' offset adds to each output's sum
};

// Rows in a ring: row r, not below the oldest one that is kept, stands at `zero` + r, less the capacity where that is
// beyond. (Always inlined: a copy of its own might be any instruction set's.)
struct RowRing {
  float* rows = nullptr;
  std::int64_t stride = 0, capacity = 0, zero = 0;
  char* converted = nullptr;  // the same rows as a product takes them, where that is another form
  std::int64_t converted_bytes = 0;

  __attribute__((always_inline)) std::int64_t place(std::int64_t r) const {
    return zero + r < capacity ? zero + r : zero + r - capacity;
  }
  __attribute__((always_inline)) float* at(std::int64_t r) const { return rows + place(r) * stride; }
  __attribute__((always_inline)) char* converted_at(std::int64_t r) const {
    return converted + place(r) * converted_bytes;
  }
};

struct EncoderLayerCall {
  const PackedMatrix* taps = nullptr;         // [kernel_size], channels -> channels; for pairs, [4]
  const std::int64_t* tap_offsets = nullptr;  // [kernel_size], in rows
  std::int64_t kernel_size = 0;
  const float* dilated_bias = nullptr;  // [channels, padded]
  PackedMatrix pointwise;               // channels -> channels, or value and gate, each padded
  const float* pointwise_bias = nullptr;
  bool gated = false;
  std::int64_t stride = 0;  // floats a row: channels, padded
  RowRing x, y;             // tap_offsets reach around x's rows
  std::int64_t rows = 0;
  float* scratch = nullptr;  // encoder_scratch_floats(stride)

  // By pairs of rows (encoder_pairs.h): of those that have a row in the call, the pairs first_pair .. last_pair - 1.
  std::int64_t dilation = 0;
  std::int64_t position = 0;  // of row 0 in the stream
  std::int64_t first_pair = 0, last_pair = 0;
  float* carried = nullptr;  // [carried_rows][stride]: what first rows leave for their partners in later calls
  std::int64_t carried_rows = 0;
  const float* zeros = nullptr;  // [stride]
};

struct DecoderLayer {
  const PackedMatrix* taps = nullptr;  // [kernel_size], oldest first: residual -> [gate; filter]
  PackedMatrix residual_and_skip;      // residual -> [residual; skip]
  std::int64_t dilation = 0;
  std::int64_t ring_rows = 0;  // (kernel_size - 1) * dilation
};

// The ends of a decoder are its first layer with the skip before it, and its head: next to the samples, where rounding
// matters most. They take a precision of their own.
constexpr std::int64_t kFirstLayers = 1;

// The decoder's packed weights: shared by all lanes and threads.
struct DecoderPlan {
  std::int64_t kernel_size = 0, pool = 0, classes = 0, depth = 0;
  std::int64_t residual_stride = 0;  // padded
  std::int64_t skip_stride = 0, classes_stride = 0;
  const float* first_taps = nullptr;  // [kernel_size][residual_stride]
  const float* first_bias = nullptr;
  PackedMatrix first_skip;
  const float* first_skip_bias = nullptr;
  const DecoderLayer* layers = nullptr;
  PackedMatrix head, logits;
  const float* logits_bias = nullptr;
};

// The state of a group of lanes that one thread decodes. Rings hold activations in the form of the precision.
struct LaneGroup {
  std::int64_t lanes = 0;
  bool guided = false;  // the second half of `lanes` are the lanes of the first once more, whose condition is zero
  std::int64_t position = 0;
  float* inputs = nullptr;              // [kernel_size][lanes], oldest first
  char* const* rings = nullptr;         // [depth] -> [ring_rows][lanes] rows of residual_stride activations
  const std::int64_t* ahead = nullptr;  // [depth]: samples whose older taps are computed together; it
                                        // divides the dilation and the pool
  float* const* older = nullptr;        // [depth] -> [ahead][lanes][2 residual_stride]: their sums
  float* sums = nullptr;                // [lanes][residual_stride + skip_stride]: running residual and skip
  float* gates = nullptr;               // [lanes][2 residual_stride]
  float* gated = nullptr;               // [lanes][residual_stride]
  float* head = nullptr;                // [lanes][skip_stride]
  float* logits = nullptr;              // [lanes][classes_stride]
  float* probabilities = nullptr;       // [classes_stride]
  char* converted = nullptr;            // [lanes] rows of the wider of residual and skip
};

// `samples` steps of a lane group within one condition frame.
struct SampleCall {
  std::int64_t samples = 0;
  const float* condition =
      nullptr;  // [depth][lanes][2 residual_stride], then [lanes][skip_stride]: projected, with biases
  const float* uniforms = nullptr;  // lane rows `lane_stride` apart; null with `forced`
  const std::uint8_t* forced = nullptr;
  std::uint8_t* codes = nullptr;  // may be null
  float* logits = nullptr;        // may be null; lane rows lane_stride * classes apart
  std::int64_t lane_stride = 0;
  float temperature = 1.0f;
  float guidance = 1.0f;  // of a guided group, whose arrays here have rows for the first half of its lanes
};

// One of the threads that decode one lane together (split_kernels.h).
struct SplitMember {
  struct alignas(64) Counter {
    std::int64_t value = 0;  // meetings that a member has come to; accessed atomically
  };
  LaneGroup state;  // sums, gated, head and logits are shared by all members, the rest is this member's
  std::int64_t index = 0, members = 1;
  std::int64_t meetings = 0;
  Counter* counters = nullptr;  // [members], shared
  float* own = nullptr;         // [the wider of residual_stride and skip_stride]
};

void yield_processor();

struct Kernels {
  std::int64_t tile;  // floats that rows and outputs are padded to

  // y[r] = init[r * init_stride] + x[r] W for `rows` rows, W packed in fp32.
  void (*product_fp32)(const PackedMatrix& w, const float* x, std::int64_t x_stride, const float* init,
                       std::int64_t init_stride, float* y, std::int64_t y_stride, std::int64_t rows);
  std::int64_t (*encoder_scratch_floats)(std::int64_t stride);
  void (*encoder_layer_in_pairs)(const EncoderLayerCall& call);

  struct InPrecision {
    RowFormat format;
    Precision for_ends;     // of a decoder where it takes a sample in and where it tells the next one's logits
    Precision for_encoder;  // of a whole encoder, where another one is faster and no coarser
    void (*convert)(const float* x, std::int64_t floats, char* row);  // as products take it; null: as it stands
    void (*encoder_layer)(const EncoderLayerCall& call);
    void (*sample)(const DecoderPlan& plan, LaneGroup& group, const SampleCall& call);
    void (*split_sample)(const DecoderPlan& plan, SplitMember& member, const SampleCall& call);
  };
  InPrecision precisions[3];

  const InPrecision& in(Precision precision) const { return precisions[static_cast<int>(precision)]; }
};

const Kernels& kernels_of(Isa isa);

}  // namespace musicstar::cpu
