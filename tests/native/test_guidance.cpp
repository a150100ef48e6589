// Guided samplers against the guided reference, and what may never change their result.
#include <algorithm>
#include <cmath>

#include "engine_runs.h"
#include "musicstar/reference.h"

namespace musicstar::tests {

namespace {

constexpr float kGuidance = 2.5f;

std::unique_ptr<cpu::Sampler> guided_sampler(const RandomDecoder& decoder, std::int64_t lanes, int threads,
                                             cpu::Isa isa, cpu::Precision precision = cpu::Precision::kFp32,
                                             cpu::Split split = cpu::Split::kWhereFaster) {
  return cpu::make_sampler(decoder.sizes, decoder.weights, lanes, threads, isa, precision, split, true);
}

}  // namespace

TEST_CASE("guidance: the reference is two decoders with one past") {
  const RandomDecoder decoder(small_decoder());
  const DecoderInput input(decoder.sizes, 1, 60);
  DecoderInput silent = input;
  std::fill(silent.condition.begin(), silent.condition.end(), 0.0f);
  const std::vector<double> heard = reference_logits(decoder, input, 0), unheard = reference_logits(decoder, silent, 0);
  for (const float guidance : {0.0f, 0.5f, 1.0f, kGuidance, kMostGuidance}) {
    CAPTURE(guidance);
    const std::vector<double> found = guided_logits(decoder, input, 0, guidance);
    double largest = 0.0, apart = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double expected = unheard[i] + static_cast<double>(guidance) * (heard[i] - unheard[i]);
      largest = std::max(largest, std::fabs(found[i] - expected));
      apart = std::max(apart, std::fabs(heard[i] - unheard[i]));
    }
    CHECK(apart > 0.5);
    CHECK(largest < 1e-12);
  }
  CHECK((guided_logits(decoder, input, 0, 1.0f) == heard));
  CHECK((guided_logits(decoder, input, 0, 0.0f) == unheard));
}

TEST_CASE("guidance: draws equal the reference's for every number of lanes and threads, whole and in pieces") {
  for (const std::int64_t kernel_size : {1, 2, 3}) {
    CAPTURE(kernel_size);
    DecoderSizes sizes = small_decoder();
    sizes.kernel_size = kernel_size;
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 5, 80);
    std::vector<std::uint8_t> expected;
    for (std::int64_t lane = 0; lane < input.lanes; ++lane) {
      const std::vector<std::uint8_t> draws = guided_draws(decoder, input, lane, 0.8f, kGuidance);
      expected.insert(expected.end(), draws.begin(), draws.end());
    }
    on_every_isa([&](cpu::Isa isa) {
      for (const std::int64_t lanes : {1, 2, 5}) {
        for (const int threads : {1, 2, 3}) {
          CAPTURE(lanes);
          CAPTURE(threads);
          const auto fast = guided_sampler(decoder, lanes, threads, isa, cpu::Precision::kFp32, cpu::Split::kAlways);
          CHECK(!fast->is_split());
          const std::vector<std::uint8_t> of_lanes(expected.begin(), expected.begin() + lanes * input.samples);
          CHECK((decode(*fast, lanes, input, Feeding::kDrawn, {}, 0, 0.8f, kGuidance).codes == of_lanes));
          fast->reset(input_of_code(kStartCode));
          CHECK(
              (decode(*fast, lanes, input, Feeding::kDrawn, {0, 1, 36, 37, 75}, 0, 0.8f, kGuidance).codes == of_lanes));
        }
      }
    });
  }
}

TEST_CASE("guidance: logits come near the reference's") {
  const RandomDecoder decoder(small_decoder());
  const DecoderInput input(decoder.sizes, 2, 50);
  for (const float guidance : {0.0f, 1.0f, kGuidance, kMostGuidance}) {
    CAPTURE(guidance);
    const std::vector<double> expected = guided_logits(decoder, input, 0, guidance);
    on_every_isa([&](cpu::Isa isa) {
      const auto fast = guided_sampler(decoder, 1, 1, isa);
      const Decoded decoded = decode(*fast, 1, input, Feeding::kForced, {}, 0, 1.0f, guidance);
      CHECK(largest_difference(decoded.logits, expected) < kFp32Tolerance * (1.0 + 2.0 * guidance));
    });
  }
}

TEST_CASE("guidance: 1 gives the bits of the plain decoder, 0 those of one that hears zeros") {
  const RandomDecoder decoder(small_decoder());
  const DecoderInput input(decoder.sizes, 3, 60);
  DecoderInput silent = input;
  std::fill(silent.condition.begin(), silent.condition.end(), 0.0f);
  on_every_engine([&](cpu::Isa isa, cpu::Precision precision) {
    for (const float guidance : {1.0f, 0.0f}) {
      CAPTURE(guidance);
      const auto plain = cpu::make_sampler(decoder.sizes, decoder.weights, 3, 1, isa, precision);
      const Decoded expected = decode(*plain, 3, guidance == 1.0f ? input : silent, Feeding::kDrawn);
      const auto guided = guided_sampler(decoder, 3, 2, isa, precision);
      const Decoded found = decode(*guided, 3, input, Feeding::kDrawn, {}, 0, 1.0f, guidance);
      CHECK((found.codes == expected.codes));
      CHECK((found.logits == expected.logits));
    }
  });
}

TEST_CASE("guidance: lanes, threads and pieces change no bit") {
  const RandomDecoder decoder(small_decoder());
  const DecoderInput input(decoder.sizes, 7, 80);
  on_every_engine([&](cpu::Isa isa, cpu::Precision precision) {
    const auto together = guided_sampler(decoder, 7, 1, isa, precision);
    const Decoded expected = decode(*together, 7, input, Feeding::kDrawn, {}, 0, 1.0f, kGuidance);
    const auto threaded = guided_sampler(decoder, 7, 3, isa, precision);
    const Decoded cut = decode(*threaded, 7, input, Feeding::kDrawn, {1, 8, 37, 75}, 0, 1.0f, kGuidance);
    CHECK((cut.codes == expected.codes));
    CHECK((cut.logits == expected.logits));
    const auto alone = guided_sampler(decoder, 1, 1, isa, precision);
    const Decoded one = decode(*alone, 1, input, Feeding::kDrawn, {40}, 6, 1.0f, kGuidance);
    CHECK(std::equal(one.codes.begin(), one.codes.end(), expected.codes.begin() + 6 * input.samples));
    CHECK(std::equal(one.logits.begin(), one.logits.end(),
                     expected.logits.begin() + 6 * input.samples * decoder.sizes.classes));
  });
}

}  // namespace musicstar::tests
