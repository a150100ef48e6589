// bf16 and int8: a bounded distance from the reference.
#include <algorithm>
#include <cmath>
#include <utility>

#include "cpu/kernels.h"
#include "engine_runs.h"
#include "musicstar/reference.h"

namespace musicstar::tests {

namespace {

// Mean Kullback-Leibler divergence, nats a sample, that rounding may cost in each precision on random weights, which
// have nothing to average over; and the relative root mean square error of encoder codes.
struct Allowed {
  cpu::Precision precision;
  double divergence, code_error;
};
constexpr Allowed kAllowed[] = {{cpu::Precision::kBf16, 3e-4, 0.02}, {cpu::Precision::kInt8, 3e-3, 0.06}};

// Log-probabilities of each of the [T][classes] logits.
template <class Float>
std::vector<double> log_softmax(const std::vector<Float>& logits, std::int64_t classes) {
  std::vector<double> result(logits.begin(), logits.end());
  for (auto row = result.begin(); row != result.end(); row += classes) {
    const double top = *std::max_element(row, row + classes);
    double total = 0.0;
    for (auto value = row; value != row + classes; ++value) total += std::exp(*value - top);
    for (auto value = row; value != row + classes; ++value) *value -= top + std::log(total);
  }
  return result;
}

void check_divergence(const DecoderSizes& sizes, std::int64_t samples) {
  const RandomDecoder decoder(sizes);
  const DecoderInput input(sizes, 1, samples);
  const std::vector<double> expected = log_softmax(reference_logits(decoder, input, 0), sizes.classes);
  for (const Allowed& allowed : kAllowed) {
    CAPTURE(std::string(cpu::name_of(allowed.precision)));
    on_every_isa([&](cpu::Isa isa) {
      const auto fast = cpu::make_sampler(sizes, decoder.weights, 1, 1, isa, allowed.precision);
      const std::vector<double> found = log_softmax(decode(*fast, 1, input, Feeding::kForced).logits, sizes.classes);
      double divergence = 0.0;
      for (std::size_t i = 0; i < found.size(); ++i) divergence += std::exp(expected[i]) * (expected[i] - found[i]);
      divergence /= static_cast<double>(samples);
      CHECK(divergence > 0.0);
      CHECK(divergence < allowed.divergence);
    });
  }
}

}  // namespace

TEST_CASE("precisions: the sampler's distributions are near the reference's") { check_divergence(small_decoder(), 60); }

TEST_CASE("precisions: and so they are at full width") {
  DecoderSizes sizes;
  sizes.blocks = 1;
  sizes.layers = 5;
  check_divergence(sizes, 12);
}

// All weights of one sign: sums as large as they can be. Where products of bytes meet in 16 bits, they must fit.
TEST_CASE("precisions: the encoder's codes are near the reference's") {
  for (const auto& [gated, signs] :
       {std::pair{false, Signs::kRandom}, {true, Signs::kRandom}, {false, Signs::kAlike}}) {
    CAPTURE(gated);
    CAPTURE(signs == Signs::kAlike);
    EncoderSizes sizes = small_encoder();
    sizes.gated = gated;
    const RandomEncoder encoder(sizes, 1, signs);
    const std::vector<std::uint8_t> codes = random_codes(300, 3);
    const std::vector<double> expected = reference::encode(sizes, encoder.weights, codes.data(), 300);
    for (const Allowed& allowed : kAllowed) {
      CAPTURE(std::string(cpu::name_of(allowed.precision)));
      on_every_isa([&](cpu::Isa isa) {
        const auto fast = cpu::make_encoder(sizes, encoder.weights, 1, isa, allowed.precision);
        const std::vector<float> found = encode(*fast, sizes, codes);
        REQUIRE(found.size() == expected.size());
        double error = 0.0, power = 0.0;
        for (std::size_t i = 0; i < found.size(); ++i) {
          error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
          power += std::pow(expected[i], 2);
        }
        CHECK(error > 0.0);
        CHECK(std::sqrt(error / power) < allowed.code_error);
      });
    }
  }
}

TEST_CASE("precisions: int8 is the same integers on every instruction set") {
  // Short and shallow: an activation on a rounding border may fall on either side, and all that follows differs a
  // little.
  DecoderSizes sizes = small_decoder();
  sizes.blocks = 1;
  sizes.layers = 2;
  constexpr std::int64_t kLanes = 20;
  // Neighbouring weights of opposite signs have one scale whether their products meet in 16 bits or not.
  const RandomDecoder decoder(sizes, 2, Signs::kOpposed);
  const DecoderInput input(sizes, kLanes, 5);
  const auto logits_on = [&](cpu::Isa isa) {
    const auto fast = cpu::make_sampler(sizes, decoder.weights, kLanes, 1, isa, cpu::Precision::kInt8);
    return decode(*fast, kLanes, input, Feeding::kForced).logits;
  };
  const std::vector<float> expected = logits_on(cpu::Isa::kGeneric);
  on_every_isa([&](cpu::Isa isa) {
    const std::vector<float> found = logits_on(isa);
    std::vector<float> differences(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) differences[i] = std::fabs(found[i] - expected[i]);
    const auto median = differences.begin() + static_cast<std::ptrdiff_t>(differences.size() / 2);
    std::nth_element(differences.begin(), median, differences.end());
    // The logits are bf16's, whose activations only its dot product rounds.
    const bool rounded = cpu::kernels_of(isa).in(cpu::Precision::kBf16).convert != nullptr;
    CHECK(*median < (rounded ? 1e-3f : 1e-5f));
  });
}

}  // namespace musicstar::tests
