// One sample after the other for a group of lanes: equations in reference/decoder.cpp.
//
// Time-batched taps: all taps of a layer but the newest read inputs that are at least a dilation old. So their products
// are made for the next `ahead` samples at once, as one product of many rows, and stay off the chain in which each
// sample waits for the one before. `ahead` divides the dilation and the samples of a condition frame, so that the sums
// can start from the condition: an output is the same chain of additions with and without,
//
//   gates = condition + (older taps) + (newest tap)
#pragma once

#include "cpu/products.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

namespace {

// The first class whose cumulative probability exceeds `uniform` (reference: reference::draw). Sums go by blocks, so
// that their additions overlap.
std::uint8_t draw(const float* logits, std::int64_t classes, float uniform, float temperature, float* probabilities) {
  std::int64_t likeliest = 0;
  for (std::int64_t a = 1; a < classes; ++a) {
    if (logits[a] > logits[likeliest]) likeliest = a;
  }
  if (temperature == 0.0f) return static_cast<std::uint8_t>(likeliest);
  const float top = logits[likeliest];
  const float scale = kLog2E / temperature;
  for (std::int64_t a = 0; a < classes; a += kWidth) {
    store(probabilities + a, power_of_two((load(logits + a) - top) * scale, 126.0f));
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

// Condition and older taps of layer l for this sample, [lanes][2 residual_stride]: from the batch, renewed when it is
// used up.
template <class P>
const float* older_taps(const DecoderPlan& plan, LaneGroup& group, std::int64_t l, const float* condition) {
  const DecoderLayer& layer = plan.layers[l];
  const std::int64_t ahead = group.ahead[l];
  const std::int64_t phase = group.position % ahead;
  const std::int64_t lanes = group.lanes;
  const std::int64_t gates = 2 * plan.residual_stride;
  if (phase == 0) {
    const std::int64_t row_bytes = P::kFormat.row_bytes(plan.residual_stride);
    // The slot that this sample will overwrite holds the oldest tap; the others follow a dilation apart.
    const std::int64_t slot = group.position % layer.ring_rows;
    for (std::int64_t k = 0; k + 1 < plan.kernel_size; ++k) {
      std::int64_t row = slot + k * layer.dilation;
      if (row >= layer.ring_rows) row -= layer.ring_rows;
      const char* x = group.rings[l] + row * lanes * row_bytes;
      if (k > 0) {
        product<P, true>(layer.taps[k], x, row_bytes, group.older[l], gates, group.older[l], gates, ahead * lanes);
      } else if (lanes == 1) {
        product<P, true>(layer.taps[k], x, row_bytes, condition, 0, group.older[l], gates, ahead);
      } else {
        for (std::int64_t i = 1; i < ahead; ++i) {
          std::memcpy(group.older[l] + i * lanes * gates, condition,
                      static_cast<std::size_t>(lanes * gates) * sizeof(float));
        }
        if (ahead > 1) {
          std::memcpy(group.older[l], condition, static_cast<std::size_t>(lanes * gates) * sizeof(float));
          condition = group.older[l];
        }
        product<P, true>(layer.taps[k], x, row_bytes, condition, gates, group.older[l], gates, ahead * lanes);
      }
    }
  }
  return group.older[l] + phase * lanes * gates;
}

// One sample of every lane through layers begin .. end - 1: residual and skip sums in place.
template <class P>
void pass_layers(const DecoderPlan& plan, LaneGroup& group, std::int64_t begin, std::int64_t end,
                 const float* condition) {
  const std::int64_t lanes = group.lanes;
  const std::int64_t residual = plan.residual_stride;
  const std::int64_t sums_stride = residual + plan.skip_stride;
  const std::int64_t newest = plan.kernel_size - 1;
  for (std::int64_t l = begin; l < end; ++l) {
    const DecoderLayer& layer = plan.layers[l];
    const float* gates = condition + l * lanes * 2 * residual;
    const Rows x = rows_of<P>(group.sums, sums_stride, residual, lanes, group.converted);
    if (newest > 0) {
      gates = older_taps<P>(plan, group, l, gates);
      // Now the oldest row is no longer needed: the newest takes its place.
      const std::int64_t row_bytes = P::kFormat.row_bytes(residual);
      char* slot = group.rings[l] + group.position % layer.ring_rows * lanes * row_bytes;
      for (std::int64_t b = 0; b < lanes; ++b) {
        std::memcpy(slot + b * row_bytes, x.data + b * x.bytes, static_cast<std::size_t>(row_bytes));
      }
    }
    product<P, true>(layer.taps[newest], x.data, x.bytes, gates, 2 * residual, group.gates, 2 * residual, lanes);
    for (std::int64_t b = 0; b < lanes; ++b) {
      const float* h = group.gates + b * 2 * residual;
      for (std::int64_t i = 0; i < residual; i += kWidth) {
        store(group.gated + b * residual + i, P::gated(load(h + i), load(h + residual + i)));
      }
    }
    const Rows z = rows_of<P>(group.gated, residual, residual, lanes, group.converted);
    product<P, true>(layer.residual_and_skip, z.data, z.bytes, group.sums, sums_stride, group.sums, sums_stride, lanes);
  }
}

// One sample of every lane: from the inputs to the logits.
template <class P>
void step(const DecoderPlan& plan, LaneGroup& group, const float* condition) {
  using Ends = typename P::ForEnds;
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
  const Rows x = rows_of<Ends>(group.sums, sums_stride, residual, lanes, group.converted);
  product<Ends, true>(plan.first_skip, x.data, x.bytes, plan.first_skip_bias, 0, group.sums + residual, sums_stride,
                      lanes);
  pass_layers<Ends>(plan, group, 0, kFirstLayers, condition);
  pass_layers<P>(plan, group, kFirstLayers, plan.depth, condition);

  for (std::int64_t b = 0; b < lanes; ++b) {
    float* skips = group.sums + b * sums_stride + residual;
    for (std::int64_t i = 0; i < skip; i += kWidth) store(skips + i, rectified(load(skips + i)));
  }
  const float* projected = condition + plan.depth * lanes * 2 * residual;
  const Rows s = rows_of<Ends>(group.sums + residual, sums_stride, skip, lanes, group.converted);
  product<Ends, true>(plan.head, s.data, s.bytes, projected, skip, group.head, skip, lanes);
  for (std::int64_t i = 0; i < lanes * skip; i += kWidth) store(group.head + i, rectified(load(group.head + i)));
  const Rows h = rows_of<Ends>(group.head, skip, skip, lanes, group.converted);
  product<Ends, true>(plan.logits, h.data, h.bytes, plan.logits_bias, 0, group.logits, plan.classes_stride, lanes);
}

// heard = guidance heard + (1 - guidance) unheard: exactly `heard` for 1, exactly `unheard` for 0.
inline void guide(float* heard, const float* unheard, std::int64_t floats, float guidance) {
  const Vector of_heard = broadcast(guidance), of_unheard = broadcast(1.0f - guidance);
  for (std::int64_t i = 0; i < floats; i += kWidth) {
    store(heard + i, multiply_add(of_heard, load(heard + i), of_unheard * load(unheard + i)));
  }
}

// From the logits of sample t of a call to every lane's next input; results are written where `writes`.
inline void take_sample(const DecoderPlan& plan, LaneGroup& group, const SampleCall& call, std::int64_t t,
                        bool writes) {
  const std::int64_t drawn = group.guided ? group.lanes / 2 : group.lanes;
  if (group.guided) {
    const std::int64_t floats = drawn * plan.classes_stride;
    guide(group.logits, group.logits + floats, floats, call.guidance);
  }
  for (std::int64_t b = 0; b < drawn; ++b) {
    const std::int64_t at = b * call.lane_stride + t;
    const float* logits = group.logits + b * plan.classes_stride;
    if (writes && call.logits != nullptr) {
      std::memcpy(call.logits + at * plan.classes, logits, static_cast<std::size_t>(plan.classes) * sizeof(float));
    }
    const std::uint8_t code =
        call.forced != nullptr ? call.forced[at]
                               : draw(logits, plan.classes, call.uniforms[at], call.temperature, group.probabilities);
    if (writes && call.codes != nullptr) call.codes[at] = code;
    for (std::int64_t k = 0; k + 1 < plan.kernel_size; ++k) {
      group.inputs[k * group.lanes + b] = group.inputs[(k + 1) * group.lanes + b];
    }
    group.inputs[(plan.kernel_size - 1) * group.lanes + b] = static_cast<float>(code) / 255.0f - 0.5f;
  }
  if (group.guided) {  // heard and unheard have one past
    for (std::int64_t k = 0; k < plan.kernel_size; ++k) {
      float* const inputs = group.inputs + k * group.lanes;
      std::memcpy(inputs + drawn, inputs, static_cast<std::size_t>(drawn) * sizeof(float));
    }
  }
  ++group.position;
}

template <class P>
void sample(const DecoderPlan& plan, LaneGroup& group, const SampleCall& call) {
  for (std::int64_t t = 0; t < call.samples; ++t) {
    step<P>(plan, group, call.condition);
    take_sample(plan, group, call, t, true);
  }
}

}  // namespace

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
