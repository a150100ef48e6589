// The algorithms, written once over a vector type and compiled per instruction set.
//
// The including file defines MUSICSTAR_KERNELS (a namespace of its own), MUSICSTAR_VECTOR_FLOATS and MUSICSTAR_ROWS
// (how many rows a block of registers holds: ROWS x 2 accumulators, 2 weights). The vector type is the compiler's own
// vector extension, so the same text is SSE2, AVX2, AVX-512 and NEON.
//
// Exactness: an output is a chain of multiply-adds over its inputs in index order, whatever block of rows it is
// computed in. So lanes, threads and pieces never change a bit within one instruction set.
#include <cstdint>
#include <cstring>

#include "cpu/kernels.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

constexpr std::int64_t kWidth = MUSICSTAR_VECTOR_FLOATS;
constexpr std::int64_t kTile = 2 * kWidth;
constexpr std::int64_t kRows = MUSICSTAR_ROWS;

typedef float Vector __attribute__((vector_size(kWidth * sizeof(float)), aligned(4), may_alias));
typedef std::int32_t Integers __attribute__((vector_size(kWidth * sizeof(float)), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// --- Elementary functions
// ---------------------------------------------------------------------------------------------

inline Vector broadcast(float value) { return Vector{} + value; }

inline Vector clamp(Vector x, float low, float high) {
  x = x < low ? broadcast(low) : x;
  return x > high ? broadcast(high) : x;
}

// e^x to about 1e-7 relative, x clamped to +-87: 2^n by the exponent field, 2^f by a polynomial on [-1/2, 1/2].
inline Vector exponential(Vector x) {
  x = clamp(x, -87.0f, 87.0f);
  const Vector rounded =
      x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the fraction falls off, the integer stays in the low bits
  const Vector n = rounded - 12582912.0f;
  const Vector f = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  Vector p = f * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  Integers bits = reinterpret_cast<const Integers&>(rounded);
  bits = (bits << 23) + (127 << 23);
  return p * reinterpret_cast<const Vector&>(bits);
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

// sigmoid(gate) * tanh(filter) with one division: (1 - e) / ((1 + e)(1 + g)), e = exp(-2 filter), g = exp(-gate).
inline Vector gated_activation(Vector gate, Vector filter) {
  const Vector e = exponential(filter * -2.0f);
  const Vector g = exponential(-gate);
  return (1.0f - e) / ((1.0f + e) * (1.0f + g));
}

inline Vector rectified(Vector x) { return x > 0.0f ? x : Vector{}; }

// --- Products
// -----------------------------------------------------------------------------------------------------------

// ROWS rows times TILES neighbouring tiles of W: all accumulators live in registers.
template <int ROWS, int TILES>
inline __attribute__((always_inline)) void product_block(const PackedMatrix& w, std::int64_t tile, const float* x,
                                                         std::int64_t x_stride, const float* init,
                                                         std::int64_t init_stride, float* y, std::int64_t y_stride) {
  Vector sums[ROWS][2 * TILES];
  const float* weight[TILES];
#pragma GCC unroll 8
  for (int j = 0; j < TILES; ++j) weight[j] = w.weight + (tile + j) * w.in * kTile;
  const std::int64_t first = tile * kTile;
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < 2 * TILES; ++v) sums[r][v] = load(init + r * init_stride + first + v * kWidth);
  }
  for (std::int64_t k = 0; k < w.in; ++k) {
    Vector weights[2 * TILES];
#pragma GCC unroll 8
    for (int v = 0; v < 2 * TILES; ++v) weights[v] = load(weight[v / 2] + k * kTile + (v % 2) * kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const float input = x[r * x_stride + k];
#pragma GCC unroll 16
      for (int v = 0; v < 2 * TILES; ++v) sums[r][v] += input * weights[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < 2 * TILES; ++v) store(y + r * y_stride + first + v * kWidth, sums[r][v]);
  }
}

template <int ROWS>
inline void product_rows(const PackedMatrix& w, const float* x, std::int64_t x_stride, const float* init,
                         std::int64_t init_stride, float* y, std::int64_t y_stride) {
  std::int64_t tile = 0;
  if constexpr (ROWS == 1) {  // one row alone hides the latency of the multiply-adds behind several tiles
    for (; tile + 4 <= w.tiles; tile += 4) product_block<1, 4>(w, tile, x, x_stride, init, init_stride, y, y_stride);
  }
  if constexpr (ROWS <= 2) {
    for (; tile + 2 <= w.tiles; tile += 2) product_block<ROWS, 2>(w, tile, x, x_stride, init, init_stride, y, y_stride);
  }
  for (; tile < w.tiles; ++tile) product_block<ROWS, 1>(w, tile, x, x_stride, init, init_stride, y, y_stride);
}

void product(const PackedMatrix& w, const float* x, std::int64_t x_stride, const float* init, std::int64_t init_stride,
             float* y, std::int64_t y_stride, std::int64_t rows) {
  const auto step = [&](std::int64_t done) {
    x += done * x_stride;
    init += done * init_stride;
    y += done * y_stride;
    rows -= done;
  };
  for (; rows >= kRows; step(kRows)) product_rows<kRows>(w, x, x_stride, init, init_stride, y, y_stride);
  if constexpr (kRows > 4) {
    for (; rows >= 4; step(4)) product_rows<4>(w, x, x_stride, init, init_stride, y, y_stride);
  }
  for (; rows >= 2; step(2)) product_rows<2>(w, x, x_stride, init, init_stride, y, y_stride);
  for (; rows >= 1; step(1)) product_rows<1>(w, x, x_stride, init, init_stride, y, y_stride);
}

// --- Encoder
// ------------------------------------------------------------------------------------------------------------

// Rows whose hidden activations stay in the first-level cache between the two products of a layer.
constexpr std::int64_t kEncoderRows = 32;

std::int64_t encoder_scratch_floats(std::int64_t stride) { return kEncoderRows * 3 * stride; }

// y = x + glu(pointwise ReLU(dilated x)), or without the GLU: equations in reference/encoder.cpp.
void encoder_layer(const EncoderLayerCall& call) {
  const std::int64_t stride = call.stride;
  const std::int64_t outputs = call.gated ? 2 * stride : stride;
  float* hidden = call.scratch;
  float* pointwise = hidden + kEncoderRows * stride;
  for (std::int64_t begin = 0; begin < call.rows; begin += kEncoderRows) {
    const std::int64_t rows = call.rows - begin < kEncoderRows ? call.rows - begin : kEncoderRows;
    const float* x = call.x + begin * stride;
    float* y = call.y + begin * stride;
    for (std::int64_t k = 0; k < call.kernel_size; ++k) {
      product(call.taps[k], x + call.tap_offsets[k] * stride, stride, k == 0 ? call.dilated_bias : hidden,
              k == 0 ? 0 : stride, hidden, stride, rows);
    }
    for (std::int64_t i = 0; i < rows * stride; i += kWidth) store(hidden + i, rectified(load(hidden + i)));
    product(call.pointwise, hidden, stride, call.pointwise_bias, 0, pointwise, outputs, rows);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < stride; c += kWidth) {
        Vector value = load(pointwise + r * outputs + c);
        if (call.gated) value *= sigmoid(load(pointwise + r * outputs + stride + c));
        store(y + r * stride + c, load(x + r * stride + c) + value);
      }
    }
  }
}

// --- Sampler
// ------------------------------------------------------------------------------------------------------------

// The first class whose cumulative probability exceeds `uniform` (reference: reference::draw). Sums go by blocks, so
// that their additions overlap.
std::uint8_t draw(const float* logits, std::int64_t classes, float uniform, float temperature, float* probabilities) {
  std::int64_t likeliest = 0;
  for (std::int64_t a = 1; a < classes; ++a) {
    if (logits[a] > logits[likeliest]) likeliest = a;
  }
  if (temperature == 0.0f) return static_cast<std::uint8_t>(likeliest);
  const float top = logits[likeliest];
  const float scale = 1.0f / temperature;
  for (std::int64_t a = 0; a < classes; a += kWidth) {
    store(probabilities + a, exponential((load(logits + a) - top) * scale));
  }

  constexpr std::int64_t kBlock = 16;
  double block_sums[256 / kBlock];
  double total = 0.0;
  for (std::int64_t begin = 0; begin < classes; begin += kBlock) {
    double sum = 0.0;
    for (std::int64_t a = begin; a < begin + kBlock && a < classes; ++a) sum += static_cast<double>(probabilities[a]);
    block_sums[begin / kBlock] = sum;
    total += sum;
  }
  const double threshold = static_cast<double>(uniform) * total;
  std::int64_t a = 0;
  double cumulative = 0.0;
  while (a + kBlock < classes && cumulative + block_sums[a / kBlock] <= threshold) {
    cumulative += block_sums[a / kBlock];
    a += kBlock;
  }
  for (; a < classes - 1; ++a) {
    cumulative += static_cast<double>(probabilities[a]);
    if (cumulative > threshold) break;
  }
  return static_cast<std::uint8_t>(a);
}

// One sample of every lane: from the inputs to the logits. Equations in reference/decoder.cpp.
void step(const DecoderPlan& plan, LaneGroup& group, const float* condition) {
  const std::int64_t lanes = group.lanes;
  const std::int64_t residual = plan.residual_stride;
  const std::int64_t skip = plan.skip_stride;
  const std::int64_t sums_stride = residual + skip;

  for (std::int64_t b = 0; b < lanes; ++b) {
    float* x = group.sums + b * sums_stride;
    for (std::int64_t i = 0; i < residual; i += kWidth) {
      Vector value = load(plan.first_bias + i);
      for (std::int64_t k = 0; k < plan.kernel_size; ++k) {
        value += group.inputs[k * lanes + b] * load(plan.first_taps + k * residual + i);
      }
      store(x + i, value);
    }
  }
  product(plan.first_skip, group.sums, sums_stride, plan.first_skip_bias, 0, group.sums + residual, sums_stride, lanes);

  for (std::int64_t l = 0; l < plan.depth; ++l) {
    const DecoderLayer& layer = plan.layers[l];
    const float* projected = condition + l * lanes * 2 * residual;
    const std::int64_t newest = plan.kernel_size - 1;
    // The slot that this sample will overwrite holds the oldest tap; the others follow a dilation apart.
    const std::int64_t slot = newest == 0 ? 0 : group.position % layer.ring_rows;
    for (std::int64_t k = 0; k < newest; ++k) {
      std::int64_t row = slot + k * layer.dilation;
      if (row >= layer.ring_rows) row -= layer.ring_rows;
      product(layer.taps[k], group.rings[l] + row * lanes * residual, residual, k == 0 ? projected : group.gates,
              2 * residual, group.gates, 2 * residual, lanes);
    }
    product(layer.taps[newest], group.sums, sums_stride, newest == 0 ? projected : group.gates, 2 * residual,
            group.gates, 2 * residual, lanes);
    for (std::int64_t b = 0; b < lanes; ++b) {
      float* sums = group.sums + b * sums_stride;
      if (newest > 0) {
        std::memcpy(group.rings[l] + (slot * lanes + b) * residual, sums, residual * sizeof(float));
      }
      const float* gates = group.gates + b * 2 * residual;
      for (std::int64_t i = 0; i < residual; i += kWidth) {
        store(group.gated + b * residual + i, gated_activation(load(gates + i), load(gates + residual + i)));
      }
      for (std::int64_t i = 0; i < sums_stride; i += kWidth) {
        store(sums + i, load(sums + i) + load(layer.residual_and_skip_bias + i));
      }
    }
    product(layer.residual_and_skip, group.gated, residual, group.sums, sums_stride, group.sums, sums_stride, lanes);
  }

  for (std::int64_t b = 0; b < lanes; ++b) {
    float* skips = group.sums + b * sums_stride + residual;
    for (std::int64_t i = 0; i < skip; i += kWidth) store(skips + i, rectified(load(skips + i)));
  }
  const float* projected = condition + plan.depth * lanes * 2 * residual;
  product(plan.head, group.sums + residual, sums_stride, projected, skip, group.head, skip, lanes);
  for (std::int64_t i = 0; i < lanes * skip; i += kWidth) store(group.head + i, rectified(load(group.head + i)));
  product(plan.logits, group.head, skip, plan.logits_bias, 0, group.logits, plan.classes_stride, lanes);
}

void sample(const DecoderPlan& plan, LaneGroup& group, const SampleCall& call) {
  for (std::int64_t t = 0; t < call.samples; ++t) {
    step(plan, group, call.condition);
    for (std::int64_t b = 0; b < group.lanes; ++b) {
      const std::int64_t at = b * call.lane_stride + t;
      const float* logits = group.logits + b * plan.classes_stride;
      if (call.logits != nullptr) std::memcpy(call.logits + at * plan.classes, logits, plan.classes * sizeof(float));
      const std::uint8_t code =
          call.forced != nullptr ? call.forced[at]
                                 : draw(logits, plan.classes, call.uniforms[at], call.temperature, group.probabilities);
      if (call.codes != nullptr) call.codes[at] = code;
      for (std::int64_t k = 0; k + 1 < plan.kernel_size; ++k) {
        group.inputs[k * group.lanes + b] = group.inputs[(k + 1) * group.lanes + b];
      }
      group.inputs[(plan.kernel_size - 1) * group.lanes + b] = static_cast<float>(code) / 255.0f - 0.5f;
    }
    ++group.position;
  }
}

}  // namespace

extern const Kernels kKernels;
const Kernels kKernels = {kTile, product, encoder_scratch_floats, encoder_layer, sample};

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
