// The fast sampler against the reference, and what may never change its result.
#include <algorithm>
#include <cmath>
#include <thread>

#include "engine_runs.h"
#include "musicstar/reference.h"

namespace musicstar::tests {

namespace {

struct Team {
  std::int64_t lanes;
  int threads;
};

// One reference for each lane, the engines with all of them at once.
void check_against_the_reference(const DecoderSizes& sizes, std::int64_t samples, const std::vector<Team>& teams) {
  const RandomDecoder decoder(sizes);
  std::int64_t most_lanes = 0;
  for (const Team& team : teams) most_lanes = std::max(most_lanes, team.lanes);
  const DecoderInput input(sizes, most_lanes, samples);
  std::vector<double> expected;
  for (std::int64_t lane = 0; lane < most_lanes; ++lane) {
    const std::vector<double> logits = reference_logits(decoder, input, lane);
    expected.insert(expected.end(), logits.begin(), logits.end());
  }
  for (const Team& team : teams) {
    CAPTURE(team.lanes);
    CAPTURE(team.threads);
    on_every_isa([&](cpu::Isa isa) {
      const auto fast = cpu::make_sampler(sizes, decoder.weights, team.lanes, team.threads, isa);
      const Decoded decoded = decode(*fast, team.lanes, input, Feeding::kForced);
      const std::vector<double> some(expected.begin(), expected.begin() + team.lanes * samples * sizes.classes);
      CHECK(largest_difference(decoded.logits, some) < kFp32Tolerance);
    });
  }
}

}  // namespace

TEST_CASE("sampler: the reference's steps equal its whole-sequence convolutions") {
  for (const std::int64_t kernel_size : {1, 2, 3}) {
    CAPTURE(kernel_size);
    DecoderSizes sizes = small_decoder();
    sizes.kernel_size = kernel_size;
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 1, 80);
    const std::vector<double> expected = reference::decode_teacher_forced(sizes, decoder.weights, input.codes.data(),
                                                                          input.samples, input.condition.data());
    reference::Sampler sampler(sizes, decoder.weights);
    sampler.reset(0.0f);  // teacher forcing starts from zero, generation from code 128
    double largest = 0.0;
    for (std::int64_t t = 0; t < input.samples; ++t) {
      const std::vector<double> logits = sampler.next_logits(input.condition_at(0, t));
      for (std::int64_t a = 0; a < sizes.classes; ++a) {
        largest = std::max(largest, std::fabs(logits[a] - expected[t * sizes.classes + a]));
      }
      sampler.feed(input.codes[t]);
    }
    CHECK(largest < 1e-9);
  }
}

TEST_CASE("sampler: equals the reference for every number of lanes and threads") {
  for (const std::int64_t kernel_size : {1, 2, 3}) {
    CAPTURE(kernel_size);
    DecoderSizes sizes = small_decoder();
    sizes.kernel_size = kernel_size;
    check_against_the_reference(sizes, 50, {{1, 1}, {2, 1}, {3, 2}, {5, 3}, {9, 2}, {16, 1}, {17, 2}});
  }
}

TEST_CASE("sampler: awkward widths") {
  for (const std::int64_t residual : {1, 3, 16, 17, 31, 33, 127, 128, 129}) {
    for (const std::int64_t classes : {2, 255, 256}) {
      CAPTURE(residual);
      CAPTURE(classes);
      DecoderSizes sizes = small_decoder();
      sizes.blocks = 1;
      sizes.layers = 2;
      sizes.residual_channels = residual;
      sizes.skip_channels = 130 - residual;
      sizes.condition_channels = 1;
      sizes.classes = classes;
      sizes.pool = 1;
      check_against_the_reference(sizes, 6, {{1, 1}, {3, 2}});
    }
  }
}

TEST_CASE("sampler: rings that wrap more than once, and batches of older taps") {
  DecoderSizes sizes = small_decoder();
  sizes.blocks = 1;
  sizes.layers = 7;
  sizes.residual_channels = 6;
  sizes.skip_channels = 9;
  for (const std::int64_t kernel_size : {2, 3}) {
    CAPTURE(kernel_size);
    sizes.kernel_size = kernel_size;
    check_against_the_reference(sizes, 300, {{1, 1}, {2, 2}});
  }
}

TEST_CASE("sampler: draws equal the reference's") {
  const DecoderSizes sizes = small_decoder();
  const RandomDecoder decoder(sizes);
  const DecoderInput input(sizes, 3, 400);
  for (const float temperature : {1.0f, 0.4f, 0.0f}) {
    CAPTURE(temperature);
    std::vector<std::uint8_t> expected;
    for (std::int64_t lane = 0; lane < input.lanes; ++lane) {
      const std::vector<std::uint8_t> draws = reference_draws(decoder, input, lane, temperature);
      expected.insert(expected.end(), draws.begin(), draws.end());
    }
    on_every_isa([&](cpu::Isa isa) {
      for (const int threads : {1, 2}) {
        CAPTURE(threads);
        const auto fast = cpu::make_sampler(sizes, decoder.weights, input.lanes, threads, isa);
        CHECK((decode(*fast, input.lanes, input, Feeding::kDrawn, {}, 0, temperature).codes == expected));
      }
    });
  }
}

TEST_CASE("sampler: lanes, threads and pieces change no bit") {
  for (const std::int64_t kernel_size : {2, 3}) {
    CAPTURE(kernel_size);
    DecoderSizes sizes = small_decoder();
    sizes.kernel_size = kernel_size;
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 11, 80);
    on_every_engine([&](cpu::Isa isa, cpu::Precision precision) {
      const auto together = cpu::make_sampler(sizes, decoder.weights, input.lanes, 1, isa, precision);
      const Decoded expected = decode(*together, input.lanes, input, Feeding::kDrawn);
      const auto threaded = cpu::make_sampler(sizes, decoder.weights, input.lanes, 3, isa, precision);
      const Decoded cut = decode(*threaded, input.lanes, input, Feeding::kDrawn, {0, 1, 8, 37, 38, 75});
      CHECK((cut.codes == expected.codes));
      CHECK((cut.logits == expected.logits));
      const auto alone = cpu::make_sampler(sizes, decoder.weights, 1, 1, isa, precision);
      for (const std::int64_t lane : {0, 4, 10}) {
        CAPTURE(lane);
        alone->reset(input_of_code(kStartCode));
        const Decoded one = decode(*alone, 1, input, Feeding::kDrawn, {1, 40}, lane);
        const std::int64_t logits = input.samples * sizes.classes;
        CHECK(std::equal(one.codes.begin(), one.codes.end(), expected.codes.begin() + lane * input.samples));
        CHECK(std::equal(one.logits.begin(), one.logits.end(), expected.logits.begin() + lane * logits));
      }
    });
  }
}

TEST_CASE("sampler: one lane split over threads changes no bit") {
  DecoderSizes sizes = small_decoder();
  sizes.blocks = 1;
  sizes.pool = 10;
  sizes.residual_channels = 70;  // three tiles of the widest vectors, so up to three members
  for (const std::int64_t kernel_size : {1, 2, 3}) {
    const int threads = kernel_size == 2 ? 3 : 2;
    CAPTURE(kernel_size);
    CAPTURE(threads);
    sizes.kernel_size = kernel_size;
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 1, 20);
    on_every_engine([&](cpu::Isa isa, cpu::Precision precision) {
      const auto alone = cpu::make_sampler(sizes, decoder.weights, 1, 1, isa, precision, cpu::Split::kNever);
      CHECK(!alone->is_split());
      const Decoded expected = decode(*alone, 1, input, Feeding::kDrawn);
      const auto split = cpu::make_sampler(sizes, decoder.weights, 1, threads, isa, precision, cpu::Split::kAlways);
      CHECK(split->is_split());
      const Decoded found = decode(*split, 1, input, Feeding::kDrawn, {0, 1, 9, 11});
      CHECK((found.codes == expected.codes));
      CHECK((found.logits == expected.logits));
    });
  }
}

TEST_CASE("sampler: feeding what was drawn gives the same logits") {
  const DecoderSizes sizes = small_decoder();
  const RandomDecoder decoder(sizes);
  DecoderInput input(sizes, 2, 60);
  on_every_engine([&](cpu::Isa isa, cpu::Precision precision) {
    const auto fast = cpu::make_sampler(sizes, decoder.weights, 2, 2, isa, precision);
    const Decoded drawn = decode(*fast, 2, input, Feeding::kDrawn);
    input.codes = drawn.codes;
    fast->reset(input_of_code(kStartCode));
    const Decoded forced = decode(*fast, 2, input, Feeding::kForced);
    CHECK((forced.logits == drawn.logits));
    CHECK((forced.codes == drawn.codes));
  });
}

TEST_CASE("sampler: extreme uniforms and large weights stay in range") {
  const DecoderSizes sizes = small_decoder();
  RandomDecoder decoder(sizes);
  std::vector<float> large(sizes.classes * sizes.skip_channels);
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = 1e4f * decoder.weights.logits.weight[i];
  decoder.weights.logits.weight = large.data();
  DecoderInput input(sizes, 2, 20);
  std::fill(input.uniforms.begin(), input.uniforms.begin() + 20, 0.0f);
  std::fill(input.uniforms.begin() + 20, input.uniforms.end(), 1.0f - 1.0f / 16777216.0f);
  on_every_engine([&](cpu::Isa isa, cpu::Precision precision) {
    const Decoded decoded =
        decode(*cpu::make_sampler(sizes, decoder.weights, 2, 1, isa, precision), 2, input, Feeding::kDrawn);
    CHECK(*std::max_element(decoded.codes.begin(), decoded.codes.end()) < sizes.classes);
    CHECK(std::all_of(decoded.logits.begin(), decoded.logits.end(), [](float value) { return std::isfinite(value); }));
  });
}

TEST_CASE("sampler: two engines run side by side in two threads") {
  const DecoderSizes sizes = small_decoder();
  const RandomDecoder decoder(sizes);
  const DecoderInput input(sizes, 2, 60);
  const cpu::Isa isa = cpu::supported_isas().back();
  const auto one = cpu::make_sampler(sizes, decoder.weights, 2, 2, isa, cpu::Precision::kInt8);
  const auto other = cpu::make_sampler(sizes, decoder.weights, 2, 2, isa, cpu::Precision::kInt8);
  Decoded by_one, by_other;
  std::thread second([&] { by_other = decode(*other, 2, input, Feeding::kDrawn); });
  by_one = decode(*one, 2, input, Feeding::kDrawn);
  second.join();
  CHECK((by_one.codes == by_other.codes));
}

}  // namespace musicstar::tests
