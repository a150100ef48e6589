// How the tests run an engine and compare what it gives.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "musicstar/engine.h"
#include "random_networks.h"

namespace musicstar::tests {

// The largest difference of the fp32 engines from the double-precision reference, for values of order 1.
constexpr double kFp32Tolerance = 2e-4;

// The instruction sets of this machine, or those of them that MUSICSTAR_TEST_ISAS names: an emulator is slow.
std::vector<cpu::Isa> tested_isas();

// Calls test(isa) for each of them.
template <class Test>
void on_every_isa(const Test& test) {
  for (const cpu::Isa isa : tested_isas()) {
    CAPTURE(std::string(cpu::name_of(isa)));
    test(isa);
  }
}

// Calls test(isa, precision) for each of them and every precision.
template <class Test>
void on_every_engine(const Test& test) {
  for (const cpu::Precision precision : {cpu::Precision::kFp32, cpu::Precision::kBf16, cpu::Precision::kInt8}) {
    CAPTURE(std::string(cpu::name_of(precision)));
    on_every_isa([&](cpu::Isa isa) { test(isa, precision); });
  }
}

// To nearest even, and back.
float rounded_to_bf16(float x);

double largest_difference(const std::vector<float>& found, const std::vector<double>& expected);

// Codes through an encoder in pieces that end at `cuts`, and the end of the audio: all frames [F][C].
std::vector<float> encode(cpu::Encoder& encoder, const EncoderSizes& sizes, const std::vector<std::uint8_t>& codes,
                          const std::vector<std::int64_t>& cuts = {});

// What B lanes of a decoder are given: [B][T] codes or uniforms, and [B][frames][C] condition.
struct DecoderInput {
  DecoderInput(const DecoderSizes& decoder_sizes, std::int64_t lane_count, std::int64_t sample_count);

  DecoderSizes sizes;
  std::int64_t lanes, samples, frames;
  std::vector<std::uint8_t> codes;
  std::vector<float> uniforms, condition;

  const float* condition_at(std::int64_t lane, std::int64_t sample) const;
};

struct Decoded {
  std::vector<std::uint8_t> codes;  // [B][T]
  std::vector<float> logits;        // [B][T][A]
};

enum class Feeding { kForced, kDrawn };

// The lanes `first_lane` .. of the input through a sampler that has as many, in pieces that end at `cuts`.
Decoded decode(cpu::Sampler& sampler, std::int64_t lanes, const DecoderInput& input, Feeding feeding,
               const std::vector<std::int64_t>& cuts = {}, std::int64_t first_lane = 0, float temperature = 1.0f,
               float guidance = 1.0f);

// The reference's logits [T][A] for one lane with its codes fed back.
std::vector<double> reference_logits(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane);

// What the reference draws [T] for one lane from its uniforms; requires that none of these is a matter of luck.
std::vector<std::uint8_t> reference_draws(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane,
                                          float temperature);

// The same of a guided lane.
std::vector<double> guided_logits(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane,
                                  float guidance);
std::vector<std::uint8_t> guided_draws(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane,
                                       float temperature, float guidance);

}  // namespace musicstar::tests
