// The fast encoder against the reference, and the properties of streaming.
#include "engine_runs.h"
#include "musicstar/reference.h"

namespace musicstar::tests {

namespace {

void check_against_the_reference(const EncoderSizes& sizes, std::int64_t samples, int threads) {
  const RandomEncoder encoder(sizes);
  const std::vector<std::uint8_t> codes = random_codes(samples, 3);
  const std::vector<double> expected = reference::encode(sizes, encoder.weights, codes.data(), samples);
  on_every_isa([&](cpu::Isa isa) {
    const auto fast = cpu::make_encoder(sizes, encoder.weights, threads, isa);
    CHECK(largest_difference(encode(*fast, sizes, codes), expected) < kFp32Tolerance);
  });
}

}  // namespace

TEST_CASE("encoder: equals the reference") {
  for (const bool gated : {false, true}) {
    for (const std::int64_t kernel_size : {1, 2, 3, 5}) {
      CAPTURE(gated);
      CAPTURE(kernel_size);
      EncoderSizes sizes = small_encoder();
      sizes.gated = gated;
      sizes.kernel_size = kernel_size;
      check_against_the_reference(sizes, 150, 2);
    }
  }
}

TEST_CASE("encoder: awkward widths") {
  for (const std::int64_t channels : {1, 3, 16, 17, 31, 33, 127, 128, 129}) {
    CAPTURE(channels);
    EncoderSizes sizes = small_encoder();
    sizes.blocks = 1;
    sizes.layers = 2;
    sizes.channels = channels;
    sizes.code_channels = channels / 2 + 1;
    check_against_the_reference(sizes, 40, 2);
  }
}

TEST_CASE("encoder: awkward lengths") {
  EncoderSizes sizes = small_encoder();
  sizes.channels = 5;
  for (const std::int64_t samples : {0, 1, 12, 13, 14, 31, 32, 33, 63, 65, 1023, 1024, 1025}) {
    CAPTURE(samples);
    check_against_the_reference(sizes, samples, 1);
  }
}

TEST_CASE("encoder: dilations longer than the blocks that it works in") {
  EncoderSizes sizes = small_encoder();
  sizes.blocks = 1;
  sizes.layers = 12;
  sizes.channels = 2;
  sizes.pool = 500;
  check_against_the_reference(sizes, 6000, 2);
}

TEST_CASE("encoder: pieces and threads change no bit") {
  const EncoderSizes sizes = small_encoder();
  const RandomEncoder encoder(sizes);
  const std::vector<std::uint8_t> codes = random_codes(1400, 3);
  on_every_engine([&](cpu::Isa isa, cpu::Precision precision) {
    const std::vector<float> whole =
        encode(*cpu::make_encoder(sizes, encoder.weights, 1, isa, precision), sizes, codes);
    for (const int threads : {1, 2, 3}) {
      CAPTURE(threads);
      const auto fast = cpu::make_encoder(sizes, encoder.weights, threads, isa, precision);
      // The second stream through the same encoder: the end of one is the start of the next.
      CHECK((encode(*fast, sizes, codes, {0, 1, 2, 15, 16, 1039, 1040}) == whole));
      CHECK((encode(*fast, sizes, codes, {1399}) == whole));
    }
  });
}

TEST_CASE("encoder: by pairs of rows it equals the reference, and pieces and threads change no bit") {
  struct Case {
    bool gated;
    std::int64_t channels, layers, samples;
  };
  // Dilations of a part of a block, of a whole one, and beyond, where a first row is never in one call with its
  // partner.
  for (const Case& each : {Case{true, 64, 5, 1500}, Case{false, 65, 3, 200}, Case{true, 64, 12, 2600}}) {
    CAPTURE(each.channels);
    CAPTURE(each.layers);
    EncoderSizes sizes = small_encoder();
    sizes.blocks = 1;
    sizes.layers = each.layers;
    sizes.channels = each.channels;
    sizes.gated = each.gated;
    const RandomEncoder encoder(sizes);
    const std::vector<std::uint8_t> codes = random_codes(each.samples, 3);
    const std::vector<double> expected = reference::encode(sizes, encoder.weights, codes.data(), each.samples);
    on_every_isa([&](cpu::Isa isa) {
      const std::vector<float> whole = encode(*cpu::make_encoder(sizes, encoder.weights, 1, isa), sizes, codes);
      CHECK(largest_difference(whole, expected) < kFp32Tolerance);
      for (const int threads : {1, 3}) {
        const auto fast = cpu::make_encoder(sizes, encoder.weights, threads, isa);
        CHECK((encode(*fast, sizes, codes, {1, 2, 15, 33, 100, 197, each.samples - 1}) == whole));
      }
    });
  }
}

TEST_CASE("encoder: reset forgets") {
  const EncoderSizes sizes = small_encoder();
  const RandomEncoder encoder(sizes);
  const std::vector<std::uint8_t> codes = random_codes(200, 3), others = random_codes(300, 4);
  on_every_isa([&](cpu::Isa isa) {
    const auto fast = cpu::make_encoder(sizes, encoder.weights, 1, isa);
    const std::vector<float> expected = encode(*fast, sizes, codes);
    std::vector<float> frames(fast->frames_within(300) * sizes.code_channels);
    fast->push(others.data(), 300, frames.data());
    fast->reset();
    CHECK((encode(*fast, sizes, codes) == expected));
  });
}

TEST_CASE("encoder: a frame appears with the last sample that it depends on") {
  EncoderSizes sizes = small_encoder();
  sizes.blocks = 1;
  const RandomEncoder encoder(sizes);
  on_every_isa([&](cpu::Isa isa) {
    const auto fast = cpu::make_encoder(sizes, encoder.weights, 1, isa);
    CHECK(fast->look_ahead() == 1 + 1 + 2 + 4 + 8);
    const std::int64_t certain = sizes.pool + fast->look_ahead();
    const std::vector<std::uint8_t> codes = random_codes(certain, 3);
    std::vector<float> frames(fast->frames_within(certain) * sizes.code_channels);
    CHECK(fast->push(codes.data(), certain - 1, frames.data()) == 0);
    CHECK(fast->push(codes.data() + certain - 1, 1, frames.data()) == 1);
  });
}

}  // namespace musicstar::tests
