// Guided samplers on a GPU: the same mixture on every path, drawn from and fed to both states of a lane.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "devices.h"
#include "engine_runs.h"
#include "musicstar/cuda_sampler.h"
#include "musicstar/philox.h"
#include "musicstar/reference.h"

namespace musicstar::tests {

namespace {

using cuda::SamplerOptions;
using cuda::SamplerPath;

constexpr float kGuidance = 2.5f;

DecoderSizes layer_sizes(std::int64_t channels) {
  DecoderSizes sizes = small_decoder();
  sizes.blocks = 1;
  sizes.layers = 2;
  sizes.residual_channels = sizes.skip_channels = channels;
  sizes.classes = 40;
  sizes.pool = 5;
  return sizes;
}

SamplerOptions guided(SamplerPath path, cpu::Precision precision = cpu::Precision::kBf16) {
  SamplerOptions options;
  options.path = path;
  options.precision = precision;
  options.guided = true;
  return options;
}

// What the plain sampler of the same path gives for the same codes, with the condition and with zeros, mixed: neither
// a lane's column nor its neighbours change a bit.
std::vector<float> mixed_logits(const RandomDecoder& decoder, SamplerOptions options, const DecoderInput& input,
                                const std::vector<std::uint8_t>& codes, float guidance) {
  options.guided = false;
  DecoderInput heard = input;
  heard.codes = codes;
  DecoderInput unheard = heard;
  std::fill(unheard.condition.begin(), unheard.condition.end(), 0.0f);
  const auto sampler = cuda::make_sampler(decoder.sizes, decoder.weights, input.lanes, 0, options);
  std::vector<float> logits = decode(*sampler, input.lanes, heard, Feeding::kForced).logits;
  sampler->reset(input_of_code(kStartCode));
  const std::vector<float> other = decode(*sampler, input.lanes, unheard, Feeding::kForced).logits;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = std::fma(guidance, logits[i], (1.0f - guidance) * other[i]);
  }
  return logits;
}

// Codes are the reference's draws from the logits that were given; sums of fp32 terms tell uniforms apart that differ
// by 1e-6 or more.
void check_draws(const Decoded& decoded, const DecoderInput& input) {
  const std::int64_t classes = input.sizes.classes;
  for (std::size_t i = 0; i < decoded.codes.size(); ++i) {
    const std::vector<double> logits(decoded.logits.begin() + i * classes, decoded.logits.begin() + (i + 1) * classes);
    const auto drawn_with = [&](double uniform) { return reference::draw(logits.data(), classes, uniform, 1.0); };
    CHECK(decoded.codes[i] >= drawn_with(input.uniforms[i] - 2e-6));
    CHECK(decoded.codes[i] <= drawn_with(input.uniforms[i] + 2e-6));
  }
}

#ifdef MUSICSTAR_EMULATED_GPU
struct Multiprocessors {
  explicit Multiprocessors(int count) { emulated_gpu::set_multiprocessors(count); }
  ~Multiprocessors() { emulated_gpu::set_multiprocessors(16); }
};
#else
struct Multiprocessors {
  explicit Multiprocessors(int) {}
};
#endif

}  // namespace

TEST_SUITE("cuda") {
  TEST_CASE("GPU guidance: fp32 draws equal the reference's") {
    if (!gpu_at_hand()) return;
    for (const std::int64_t kernel_size : {1, 2, 3}) {
      CAPTURE(kernel_size);
      DecoderSizes sizes = small_decoder();
      sizes.kernel_size = kernel_size;
      sizes.layers = 3;
      sizes.residual_channels = 5;
      sizes.skip_channels = 7;
      const RandomDecoder decoder(sizes);
      const DecoderInput input(sizes, 17, 40);
      for (const std::int64_t lanes : {1, 2, 17}) {  // 34 states on 16 multiprocessors: two lanes share a block
        CAPTURE(lanes);
        const auto sampler =
            cuda::make_sampler(sizes, decoder.weights, lanes, 0, guided(SamplerPath::kFastest, cpu::Precision::kFp32));
        CAPTURE(sampler->description());
        CHECK(sampler->lanes() == lanes);
        const Decoded decoded = decode(*sampler, lanes, input, Feeding::kDrawn, {1, 36, 37}, 0, 1.0f, kGuidance);
        for (const std::int64_t lane : {std::int64_t{0}, lanes - 1}) {
          const std::vector<std::uint8_t> expected = guided_draws(decoder, input, lane, 1.0f, kGuidance);
          CHECK(std::equal(expected.begin(), expected.end(), decoded.codes.begin() + lane * input.samples));
        }
      }
    }
  }

  TEST_CASE("GPU guidance: every path and schedule mixes what its plain sampler gives") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 5, 7);  // two groups, the second one not full
    for (const SamplerPath path : {SamplerPath::kLayerClusters, SamplerPath::kLayers, SamplerPath::kGeneral}) {
      CAPTURE(static_cast<int>(path));
      Decoded first;
      on_every_schedule([&] {
        SamplerOptions options = guided(path);
        const auto sampler = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, options);
        CAPTURE(sampler->description());
        options.launch_samples = 3;
        const auto cut = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, options);
        const Decoded whole = decode(*sampler, input.lanes, input, Feeding::kDrawn, {}, 0, 1.0f, kGuidance);
        if (first.logits.empty()) {
          first = whole;
          CHECK((whole.logits == mixed_logits(decoder, options, input, whole.codes, kGuidance)));
          check_draws(whole, input);
          const Decoded pieces = decode(*cut, input.lanes, input, Feeding::kDrawn, {0, 1, 5}, 0, 1.0f, kGuidance);
          CHECK((pieces.codes == whole.codes));
          CHECK((pieces.logits == whole.logits));
        }
        CHECK((whole.codes == first.codes));
        CHECK((whole.logits == first.logits));
      });
    }
  }

  TEST_CASE("GPU guidance: wider layers, forced codes, one lane, guidance 1 and 0") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(64);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 1, 6);
    for (const SamplerPath path : {SamplerPath::kLayerClusters, SamplerPath::kGeneral}) {
      CAPTURE(static_cast<int>(path));
      for (const float guidance : {1.0f, 0.0f, kMostGuidance}) {
        CAPTURE(guidance);
        const auto sampler = cuda::make_sampler(sizes, decoder.weights, 1, 0, guided(path));
        const Decoded forced = decode(*sampler, 1, input, Feeding::kForced, {}, 0, 1.0f, guidance);
        CHECK((forced.logits == mixed_logits(decoder, guided(path), input, input.codes, guidance)));
        CHECK((forced.codes == input.codes));
      }
    }
  }

  TEST_CASE("GPU guidance: uniforms made on the device are numbered by the caller's lanes") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32);
    const RandomDecoder decoder(sizes);
    DecoderInput input(sizes, 5, 9);
    cuda::Sampler::Extras extras;
    extras.philox = cuda::Sampler::Philox{99, 7, 3};
    for (std::int64_t lane = 0; lane < input.lanes; ++lane) {
      for (std::int64_t t = 0; t < input.samples; ++t) {
        input.uniforms[lane * input.samples + t] = philox_uniform(99, 7 + lane, 3 + t);
      }
    }
    for (const SamplerPath path : {SamplerPath::kFastest, SamplerPath::kGeneral}) {
      const auto sampler = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, guided(path));
      const Decoded expected = decode(*sampler, input.lanes, input, Feeding::kDrawn, {}, 0, 1.0f, kGuidance);
      sampler->reset(input_of_code(kStartCode));
      std::vector<std::uint8_t> codes(expected.codes.size());
      cuda::Sampler::Call call;
      call.samples = input.samples;
      call.condition = input.condition.data();
      call.frames = input.frames;
      call.guidance = kGuidance;
      call.codes = codes.data();
      sampler->run(call, extras);
      CHECK((codes == expected.codes));
    }
  }

  TEST_CASE("GPU guidance: what it refuses") {
    if (!gpu_at_hand()) return;
    const DecoderSizes sizes = layer_sizes(32);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 1, 3);
    cuda::Sampler::Call call;
    call.samples = 3;
    call.condition = input.condition.data();
    call.frames = 1;
    call.uniforms = input.uniforms.data();
    const auto sampler = cuda::make_sampler(sizes, decoder.weights, 1, 0, guided(SamplerPath::kGeneral));
    for (const float guidance : {-0.5f, 10.5f, std::nanf(""), INFINITY}) {
      call.guidance = guidance;
      CHECK_THROWS_AS(sampler->run(call), std::invalid_argument);
    }
    SamplerOptions plain;
    plain.path = SamplerPath::kGeneral;
    call.guidance = 2.0f;
    CHECK_THROWS_AS(cuda::make_sampler(sizes, decoder.weights, 1, 0, plain)->run(call), std::invalid_argument);
    CHECK_NOTHROW(sampler->run(call));
    CHECK(sampler->position() == 3);
  }
}

}  // namespace musicstar::tests
