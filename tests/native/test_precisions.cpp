// bf16 and int8: a bounded distance from the reference.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

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
constexpr Allowed kAllowed[] = {{cpu::Precision::kBf16, 3e-4, 0.02}, {cpu::Precision::kInt8, 3e-4, 0.06}};

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

TEST_CASE("precisions: between its ends int8 is the same integers on every instruction set") {
  // Short and shallow: an activation on a rounding border may fall on either side, and all that follows differs a
  // little.
  DecoderSizes sizes = small_decoder();
  sizes.blocks = 1;
  sizes.layers = 3;
  constexpr std::int64_t kLanes = 20;
  // Neighbouring weights of opposite signs have one scale whether their products meet in 16 bits or not.
  RandomDecoder decoder(sizes, 2, Signs::kOpposed);
  // The ends, whose products are bf16's, add nothing of their own: what enters the first layer is its bias, which bf16
  // holds, and passes it by; the logits are the skip sums, or those as bf16's dot product rounds them.
  const std::int64_t skip = sizes.skip_channels;
  const std::vector<float> zeros(std::max(sizes.classes, 2 * sizes.residual_channels) *
                                 std::max(sizes.residual_channels, skip));
  std::vector<float> first_bias(sizes.residual_channels), head(skip * skip), logits(sizes.classes * skip);
  std::transform(decoder.weights.first.bias, decoder.weights.first.bias + sizes.residual_channels, first_bias.begin(),
                 rounded_to_bf16);
  for (std::int64_t s = 0; s < skip; ++s) head[s * skip + s] = 1.0f;
  for (std::int64_t a = 0; a < sizes.classes; ++a) logits[a * skip + a % skip] = 1.0f;
  decoder.weights.first = {zeros.data(), first_bias.data()};
  decoder.weights.first_skip.weight = zeros.data();
  decoder.weights.layers[0].residual.weight = decoder.weights.layers[0].skip.weight = zeros.data();
  decoder.weights.head = {head.data(), zeros.data()};
  decoder.weights.head_condition = {zeros.data(), zeros.data()};
  decoder.weights.logits = {logits.data(), zeros.data()};
  const DecoderInput input(sizes, kLanes, 5);
  const auto logits_on = [&](cpu::Isa isa) {
    const auto fast = cpu::make_sampler(sizes, decoder.weights, kLanes, 1, isa, cpu::Precision::kInt8);
    return decode(*fast, kLanes, input, Feeding::kForced).logits;
  };
  const std::vector<float> expected = logits_on(cpu::Isa::kGeneric);
  on_every_isa([&](cpu::Isa isa) {
    const std::vector<float> found = logits_on(isa);
    const bool rounds = cpu::kernels_of(isa).in(cpu::Precision::kBf16).convert != nullptr;
    std::vector<float> differences;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (expected[i] == 0.0f) continue;  // where the head's ReLU says so, much may be wrong
      differences.push_back(std::fabs(found[i] - (rounds ? rounded_to_bf16(expected[i]) : expected[i])));
    }
    REQUIRE(differences.size() > found.size() / 4);
    const auto median = differences.begin() + static_cast<std::ptrdiff_t>(differences.size() / 2);
    std::nth_element(differences.begin(), median, differences.end());
    CHECK(*median < 1e-5f);
  });
}

}  // namespace musicstar::tests
