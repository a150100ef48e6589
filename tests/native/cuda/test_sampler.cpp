// The sampler on a GPU against the reference, on every path, and what may never change its result.
#include "musicstar/cuda_sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "cuda/sampler_packing.h"
#include "devices.h"
#include "engine_runs.h"
#include "musicstar/philox.h"
#include "musicstar/reference.h"

namespace musicstar::tests {

namespace {

using cuda::SamplerOptions;
using cuda::SamplerPath;

// The pipelines' logits, of order 1, against the reference on weights rounded alike: activations are rounded to bf16
// once a layer, and on a GPU gates have tanh.approx's error.
constexpr double kBf16Tolerance = 2e-2, kBf16MeanTolerance = 3e-3;

SamplerOptions fp32() {
  SamplerOptions options;
  options.precision = cpu::Precision::kFp32;
  return options;
}

// The ways in which one layer a multiprocessor can be placed, on an emulated device made large enough.
struct Placement {
  SamplerPath path;
  int cluster, pipelines;
};
SamplerOptions placed(const Placement& placement) {
  SamplerOptions options;
  options.path = placement.path;
  options.cluster = placement.cluster;
  options.pipelines = placement.pipelines;
  return options;
}
constexpr Placement kPlacements[] = {
    {SamplerPath::kLayers, 1, 1},         // all through L2
    {SamplerPath::kLayerClusters, 2, 1},  // every other link through L2
    {SamplerPath::kLayerClusters, 3, 1},
    {SamplerPath::kLayerClusters, 8, 1},  // one cluster, the circle closed within
};

DecoderSizes layer_sizes(std::int64_t channels, std::int64_t blocks = 2, std::int64_t layers = 2) {
  DecoderSizes sizes = small_decoder();
  sizes.blocks = blocks;
  sizes.layers = layers;
  sizes.residual_channels = sizes.skip_channels = channels;
  sizes.classes = 40;
  sizes.pool = 5;
  return sizes;
}

// The same network with the matrices that meet bf16 activations rounded.
class RoundedDecoder {
 public:
  explicit RoundedDecoder(const RandomDecoder& decoder) : sizes(decoder.sizes), weights(decoder.weights) {
    const std::int64_t r = sizes.residual_channels, s = sizes.skip_channels;
    round(weights.first_skip, s * r);
    for (DecoderWeights::Layer& layer : weights.layers) {
      round(layer.dilated, 2 * r * r * sizes.kernel_size);
      round(layer.residual, r * r);
      round(layer.skip, s * r);
    }
    round(weights.head, s * s);
    round(weights.logits, sizes.classes * s);
  }

  DecoderSizes sizes;
  DecoderWeights weights;

 private:
  void round(Convolution& convolution, std::int64_t count) {
    std::vector<float> rounded;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint32_t bits = static_cast<std::uint32_t>(cuda::bf16_bits(convolution.weight[i])) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof(value));
      rounded.push_back(value);
    }
    tensors_.push_back(std::move(rounded));
    convolution.weight = tensors_.back().data();
  }
  std::vector<std::vector<float>> tensors_;
};

std::vector<double> logits_of(const DecoderSizes& sizes, const DecoderWeights& weights, const DecoderInput& input,
                              std::int64_t lane) {
  reference::Sampler sampler(sizes, weights);
  std::vector<double> logits;
  for (std::int64_t t = 0; t < input.samples; ++t) {
    const std::vector<double> next = sampler.next_logits(input.condition_at(lane, t));
    logits.insert(logits.end(), next.begin(), next.end());
    sampler.feed(input.codes[lane * input.samples + t]);
  }
  return logits;
}

// Of some lanes at the ends and in the middle: the reference is slow.
std::vector<std::int64_t> some_lanes(std::int64_t lanes) {
  std::vector<std::int64_t> some = {0};
  for (const std::int64_t lane : {lanes / 2, lanes - 1}) {
    if (lane > some.back()) some.push_back(lane);
  }
  return some;
}

void check_rounded(const RandomDecoder& decoder, const DecoderInput& input, const Decoded& decoded) {
  const RoundedDecoder rounded(decoder);
  const std::int64_t each = input.samples * decoder.sizes.classes;
  for (const std::int64_t lane : some_lanes(input.lanes)) {
    CAPTURE(lane);
    const std::vector<double> expected = logits_of(rounded.sizes, rounded.weights, input, lane);
    double sum = 0.0, largest = 0.0;
    for (std::int64_t i = 0; i < each; ++i) {
      const double difference = std::fabs(decoded.logits[lane * each + i] - expected[i]);
      REQUIRE(std::isfinite(difference));
      sum += difference;
      largest = std::max(largest, difference);
    }
    CHECK(largest < kBf16Tolerance);
    CHECK(sum / static_cast<double>(each) < kBf16MeanTolerance);
  }
}

void check_fp32(const DecoderSizes& sizes, std::int64_t lanes, std::int64_t samples) {
  const RandomDecoder decoder(sizes);
  const DecoderInput input(sizes, lanes, samples);
  const auto sampler = cuda::make_sampler(sizes, decoder.weights, lanes, 0, fp32());
  CHECK(sampler->kernel_name() == "general fp32");
  const Decoded decoded = decode(*sampler, lanes, input, Feeding::kForced);
  const std::int64_t each = samples * sizes.classes;
  for (const std::int64_t lane : some_lanes(lanes)) {
    CAPTURE(lane);
    const std::vector<float> found(decoded.logits.begin() + lane * each, decoded.logits.begin() + (lane + 1) * each);
    CHECK(largest_difference(found, reference_logits(decoder, input, lane)) < kFp32Tolerance);
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
  TEST_CASE("GPU sampler: fp32 equals the reference for awkward sizes") {
    if (!gpu_at_hand()) return;
    for (const std::int64_t kernel_size : {1, 2, 3}) {
      for (const std::int64_t pool : {1, 3}) {
        CAPTURE(kernel_size);
        CAPTURE(pool);
        DecoderSizes sizes = small_decoder();
        sizes.layers = 3;
        sizes.residual_channels = 5;
        sizes.skip_channels = 7;
        sizes.kernel_size = kernel_size;
        sizes.classes = kernel_size == 1 ? 2 : kernel_size == 2 ? 17 : 256;
        sizes.pool = pool;
        check_fp32(sizes, 3, 20);
      }
    }
    DecoderSizes sizes = small_decoder();
    sizes.blocks = 1;
    sizes.layers = 2;
    sizes.residual_channels = 129;
    sizes.skip_channels = 1;
    sizes.classes = 255;
    check_fp32(sizes, 1, 5);
  }

  TEST_CASE("GPU sampler: fp32 equals the reference for every number of lanes") {
    if (!gpu_at_hand()) return;
    DecoderSizes sizes = small_decoder();
    sizes.blocks = 1;
    sizes.layers = 2;
    sizes.residual_channels = 5;
    sizes.skip_channels = 7;
    sizes.classes = 9;
    for (const std::int64_t lanes : {1, 7, 16, 17, 33, 512}) {  // beyond 16 multiprocessors four lanes share a block
      CAPTURE(lanes);
      check_fp32(sizes, lanes, lanes > 100 ? 3 : 8);
    }
  }

  TEST_CASE("GPU sampler: fp32 draws equal the reference's") {
    if (!gpu_at_hand()) return;
    const DecoderSizes sizes = small_decoder();
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 3, 150);
    for (const float temperature : {1.0f, 0.4f, 0.0f}) {
      CAPTURE(temperature);
      const auto sampler = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, fp32());
      const Decoded decoded = decode(*sampler, input.lanes, input, Feeding::kDrawn, {}, 0, temperature);
      for (std::int64_t lane = 0; lane < input.lanes; ++lane) {
        const std::vector<std::uint8_t> expected = reference_draws(decoder, input, lane, temperature);
        CHECK(std::equal(expected.begin(), expected.end(), decoded.codes.begin() + lane * input.samples));
      }
    }
  }

  TEST_CASE("GPU sampler: bf16 weights in the general kernel") {
    if (!gpu_at_hand()) return;
    const DecoderSizes sizes = small_decoder();
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 3, 30);
    const auto sampler = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0);
    CHECK(sampler->kernel_name() == "general bf16");
    const Decoded decoded = decode(*sampler, input.lanes, input, Feeding::kForced);
    const RoundedDecoder rounded(decoder);
    const std::int64_t each = input.samples * sizes.classes;
    const std::vector<float> found(decoded.logits.begin(), decoded.logits.begin() + each);
    CHECK(largest_difference(found, logits_of(sizes, rounded.weights, input, 0)) < kFp32Tolerance);
  }

  TEST_CASE("GPU sampler: one layer a multiprocessor, every placement and schedule") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 9, 6);
    Decoded first;
    for (const Placement& placement : kPlacements) {
      CAPTURE(placement.cluster);
      on_every_schedule([&] {
        const auto sampler = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, placed(placement));
        CHECK(sampler->kernel_name() == (placement.cluster == 1 ? "layer-per-SM bf16" : "layer-per-SM clusters bf16"));
        const Decoded decoded = decode(*sampler, input.lanes, input, Feeding::kForced, {1});
        if (first.logits.empty()) {
          first = decoded;
          check_rounded(decoder, input, decoded);
        }
        CHECK((decoded.logits == first.logits));
      });
    }
  }

  TEST_CASE("GPU sampler: one layer a multiprocessor at every width") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    for (const std::int64_t channels : {64, 128}) {
      CAPTURE(channels);
      DecoderSizes sizes = layer_sizes(channels, 1, 3);
      sizes.classes = 256;
      const RandomDecoder decoder(sizes);
      const DecoderInput input(sizes, 3, 8);
      const auto sampler =
          cuda::make_sampler(sizes, decoder.weights, 3, 0, placed({SamplerPath::kLayerClusters, 3, 1}));
      const Decoded decoded = decode(*sampler, 3, input, Feeding::kForced);
      check_rounded(decoder, input, decoded);
      const auto layers = cuda::make_sampler(sizes, decoder.weights, 3, 0, placed({SamplerPath::kLayers, 1, 1}));
      CHECK((decode(*layers, 3, input, Feeding::kForced).logits == decoded.logits));
    }
  }

  TEST_CASE("GPU sampler: where the full network goes") {
    if (!gpu_at_hand()) return;
    const Multiprocessors of_an_h200(132);
    const DecoderSizes sizes;
    const RandomDecoder decoder(sizes);
    // Decoding with 41 blocks is more than an emulated GPU can do in a test's time.
    for (const auto& [lanes, groups] : {std::pair<std::int64_t, const char*>{1, "1 group of"}, {64, "8 groups of"}}) {
      const auto sampler = cuda::make_sampler(sizes, decoder.weights, lanes, 0);
      CAPTURE(sampler->description());
      CHECK(sampler->kernel_name() == "layer-per-SM clusters bf16");
      CHECK(sampler->description().rfind(groups, 0) == 0);
      CHECK(sampler->description().find("of 41 blocks") != std::string::npos);
    }
  }

  TEST_CASE("GPU sampler: lanes in groups, pipelines side by side") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32, 1, 2);
    const RandomDecoder decoder(sizes);
    for (const std::int64_t lanes : {1, 7, 8, 9, 33, 512}) {
      CAPTURE(lanes);
      const DecoderInput input(sizes, lanes, lanes > 100 ? 2 : 4);
      Decoded first;
      for (const Placement& placement : {Placement{SamplerPath::kLayerClusters, 3, 1},
                                         {SamplerPath::kLayers, 1, 1},
                                         {SamplerPath::kLayerClusters, 2, 3},
                                         {SamplerPath::kLayers, 1, 5}}) {
        if (placement.pipelines > (lanes + 7) / 8) continue;
        if (lanes > 100 && placement.cluster != 3) continue;  // the emulated GPU's time
        CAPTURE(placement.cluster);
        CAPTURE(placement.pipelines);
        const auto sampler = cuda::make_sampler(sizes, decoder.weights, lanes, 0, placed(placement));
        const Decoded decoded = decode(*sampler, lanes, input, Feeding::kForced);
        if (first.logits.empty()) {
          first = decoded;
          check_rounded(decoder, input, decoded);
        }
        CHECK((decoded.logits == first.logits));
      }
    }
  }

  TEST_CASE("GPU sampler: more groups than slots between neighbours, every schedule") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32, 1, 2);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 72, 2);
    const auto layers = cuda::make_sampler(sizes, decoder.weights, 72, 0, placed({SamplerPath::kLayers, 1, 1}));
    const Decoded expected = decode(*layers, 72, input, Feeding::kDrawn);
    on_every_schedule([&] {
      const auto clusters =
          cuda::make_sampler(sizes, decoder.weights, 72, 0, placed({SamplerPath::kLayerClusters, 3, 1}));
      const Decoded decoded = decode(*clusters, 72, input, Feeding::kDrawn);
      CHECK((decoded.codes == expected.codes));
      CHECK((decoded.logits == expected.logits));
    });
  }

  TEST_CASE("GPU sampler: rings that wrap, launches and pieces change no bit") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32, 1, 4);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 12, 30);
    for (const SamplerPath path : {SamplerPath::kLayerClusters, SamplerPath::kLayers, SamplerPath::kGeneral}) {
      CAPTURE(static_cast<int>(path));
      SamplerOptions options;
      options.path = path;
      const auto whole = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, options);
      const Decoded expected = decode(*whole, input.lanes, input, Feeding::kDrawn);
      if (path != SamplerPath::kGeneral) {
        DecoderInput drawn = input;
        drawn.codes = expected.codes;
        check_rounded(decoder, drawn, expected);
      }
      options.launch_samples = 9;
      const auto cut = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, options);
      const Decoded found = decode(*cut, input.lanes, input, Feeding::kDrawn, {0, 1, 8, 22});
      CHECK((found.codes == expected.codes));
      CHECK((found.logits == expected.logits));
      // One lane alone.
      cut->reset(input_of_code(kStartCode));
      CHECK(cut->position() == 0);
      const auto alone = cuda::make_sampler(sizes, decoder.weights, 1, 0, options);
      const Decoded one = decode(*alone, 1, input, Feeding::kDrawn, {13}, 11);
      CHECK(std::equal(one.codes.begin(), one.codes.end(), expected.codes.begin() + 11 * input.samples));
    }
  }

  TEST_CASE("GPU sampler: draws are the reference's for the logits that it gives") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    for (const std::int64_t classes : {2, 7, 100, 256}) {
      CAPTURE(classes);
      DecoderSizes sizes = layer_sizes(32, 1, 1);
      sizes.classes = classes;
      const RandomDecoder decoder(sizes);
      DecoderInput input(sizes, 9, 8);
      input.uniforms[0] = 0.0f;
      input.uniforms[1] = 1.0f - 1.0f / 16777216.0f;
      for (const float temperature : {1.0f, 0.3f, 0.0f}) {
        CAPTURE(temperature);
        const auto sampler = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0);
        CHECK(sampler->kernel_name() == "layer-per-SM clusters bf16");
        const Decoded decoded = decode(*sampler, input.lanes, input, Feeding::kDrawn, {}, 0, temperature);
        for (std::size_t i = 0; i < decoded.codes.size(); ++i) {
          const std::vector<double> logits(decoded.logits.begin() + i * classes,
                                           decoded.logits.begin() + (i + 1) * classes);
          const auto drawn_with = [&](double uniform) {
            return reference::draw(logits.data(), classes, uniform, static_cast<double>(temperature));
          };
          // Sums of 256 fp32 terms tell uniforms apart that differ by 1e-6 or more.
          CHECK(decoded.codes[i] >= drawn_with(input.uniforms[i] - 2e-6));
          CHECK(decoded.codes[i] <= drawn_with(input.uniforms[i] + 2e-6));
        }
      }
    }
  }

  TEST_CASE("GPU sampler: uniforms made on the device are the host's") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32, 1, 2);
    const RandomDecoder decoder(sizes);
    DecoderInput input(sizes, 10, 23);
    cuda::Sampler::Extras extras;
    extras.philox = cuda::Sampler::Philox{0x123456789abcdefull, 0xfffffffeull, 0x3fffffffeull};
    for (std::int64_t lane = 0; lane < input.lanes; ++lane) {
      for (std::int64_t t = 0; t < input.samples; ++t) {
        input.uniforms[lane * input.samples + t] =
            philox_uniform(extras.philox->seed, extras.philox->first_lane + lane, extras.philox->first_index + t);
      }
    }
    for (const SamplerPath path : {SamplerPath::kFastest, SamplerPath::kGeneral}) {
      SamplerOptions options;
      options.path = path;
      options.launch_samples = 9;
      const auto sampler = cuda::make_sampler(sizes, decoder.weights, input.lanes, 0, options);
      const Decoded expected = decode(*sampler, input.lanes, input, Feeding::kDrawn);
      sampler->reset(input_of_code(kStartCode));
      std::vector<std::uint8_t> codes(expected.codes.size());
      cuda::Sampler::Call call;
      call.samples = input.samples;
      call.condition = input.condition.data();
      call.frames = input.frames;
      call.codes = codes.data();
      sampler->run(call, extras);
      CHECK((codes == expected.codes));
    }
  }

  TEST_CASE("GPU sampler: two at once, in turns and in two threads' order, keep apart") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32, 1, 2);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 3, 12), other_input(sizes, 3, 12);
    const auto one = cuda::make_sampler(sizes, decoder.weights, 3, 0);
    const auto other = cuda::make_sampler(sizes, decoder.weights, 3, 0);
    const Decoded expected = decode(*one, 3, input, Feeding::kDrawn);
    one->reset(input_of_code(kStartCode));
    const auto piece = [&](cuda::Sampler& sampler, std::int64_t begin, std::int64_t end) {
      std::vector<float> condition, uniforms;
      for (std::int64_t lane = 0; lane < 3; ++lane) {
        const std::int64_t frames = sampler.frames_touched(end - begin);
        const float* frame = input.condition_at(lane, begin);
        condition.insert(condition.end(), frame, frame + frames * sizes.condition_channels);
        uniforms.insert(uniforms.end(), input.uniforms.begin() + lane * 12 + begin,
                        input.uniforms.begin() + lane * 12 + end);
      }
      std::vector<std::uint8_t> codes(3 * (end - begin));
      cuda::Sampler::Call call;
      call.samples = end - begin;
      call.condition = condition.data();
      call.frames = sampler.frames_touched(call.samples);
      call.uniforms = uniforms.data();
      call.codes = codes.data();
      sampler.run(call);
      for (std::int64_t lane = 0; lane < 3; ++lane) {
        CHECK(std::equal(codes.begin() + lane * (end - begin), codes.begin() + (lane + 1) * (end - begin),
                         expected.codes.begin() + lane * 12 + begin));
      }
    };
    piece(*one, 0, 4);
    piece(*other, 0, 6);
    piece(*one, 4, 9);
    piece(*other, 6, 12);
    piece(*one, 9, 12);
  }

  TEST_CASE("GPU sampler: interruption leaves a whole sampler") {
    if (!gpu_at_hand()) return;
    const Multiprocessors enough(48);
    const DecoderSizes sizes = layer_sizes(32, 1, 2);
    const RandomDecoder decoder(sizes);
    const DecoderInput input(sizes, 2, 30);
    SamplerOptions options;
    options.launch_samples = 4;
    const auto sampler = cuda::make_sampler(sizes, decoder.weights, 2, 0, options);
    const Decoded expected = decode(*sampler, 2, input, Feeding::kDrawn);
    sampler->reset(input_of_code(kStartCode));
    std::vector<std::uint8_t> codes(2 * 30, 255);
    cuda::Sampler::Call call;
    call.samples = 30;
    call.condition = input.condition.data();
    call.frames = input.frames;
    call.uniforms = input.uniforms.data();
    call.codes = codes.data();
    int asked = 0;
    cuda::Sampler::Extras extras;
    extras.interrupted = [&] { return ++asked == 3; };
    CHECK_THROWS_AS(sampler->run(call, extras), cuda::Interrupted);
    CHECK(sampler->position() == 12);
    for (std::int64_t lane = 0; lane < 2; ++lane) {
      CHECK(std::equal(codes.begin() + lane * 30, codes.begin() + lane * 30 + 12, expected.codes.begin() + lane * 30));
      CHECK(codes[lane * 30 + 12] == 255);
    }
    sampler->reset(input_of_code(kStartCode));
    CHECK((decode(*sampler, 2, input, Feeding::kDrawn).codes == expected.codes));
  }

  TEST_CASE("GPU sampler: what it refuses") {
    if (!gpu_at_hand()) return;
    const Multiprocessors few(1);
    const DecoderSizes sizes = layer_sizes(128, 1, 2);
    const RandomDecoder decoder(sizes);
    const auto make = [&](const SamplerOptions& options, std::int64_t lanes = 1, int device = 0) {
      return cuda::make_sampler(sizes, decoder.weights, lanes, device, options);
    };
    SamplerOptions options;
#ifdef MUSICSTAR_EMULATED_GPU
    CHECK(make(options)->kernel_name() == "general bf16");  // three blocks, one multiprocessor
    options.path = SamplerPath::kLayers;
    CHECK_THROWS_AS(make(options), cuda::Error);
#endif
    CHECK_THROWS_AS(make({}, 1, 1000), cuda::Error);
    CHECK_THROWS_AS(make({}, 0), std::invalid_argument);
    options.precision = cpu::Precision::kFp32;
    options.path = SamplerPath::kLayers;
    CHECK_THROWS_AS(make(options), std::invalid_argument);
    options.precision = cpu::Precision::kInt8;
    options.path = SamplerPath::kFastest;
    CHECK_THROWS_AS(make(options), std::invalid_argument);
    const auto sampler = make({});
    const DecoderInput input(sizes, 1, 3);
    cuda::Sampler::Call call;
    call.samples = 3;
    call.condition = input.condition.data();
    call.frames = 1;
    CHECK_THROWS_AS(sampler->run(call), std::invalid_argument);  // nothing to draw with
    call.uniforms = input.uniforms.data();
    call.forced = input.codes.data();
    CHECK_THROWS_AS(sampler->run(call), std::invalid_argument);
    call.forced = nullptr;
    call.frames = 2;
    CHECK_THROWS_AS(sampler->run(call), std::invalid_argument);
    call.frames = 1;
    call.temperature = -1.0f;
    CHECK_THROWS_AS(sampler->run(call), std::invalid_argument);
    call.temperature = 1.0f;
    CHECK_NOTHROW(sampler->run(call));
    CHECK(sampler->position() == 3);
  }
}

}  // namespace musicstar::tests
