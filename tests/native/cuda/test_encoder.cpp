// The encoder on a GPU against the reference, and the properties of streaming: what tests/native/test_encoder.cpp asks
// of the CPU's.
#include <algorithm>
#include <stdexcept>

#include "../engine_runs.h"
#include "cuda/encoder_layers.h"
#include "device_arrays.h"
#include "musicstar/cuda_encoder.h"
#include "musicstar/cuda_errors.h"
#include "musicstar/reference.h"

namespace musicstar::tests {

namespace {

using Options = cuda::EncoderOptions;

// The largest difference of the bf16 encoders from the reference with the same rounded weights, for values of order 1:
// what is left is the rounding of activations to 8 bits, twice a layer.
constexpr double kBf16Tolerance = 8e-3;

Options options_of(cpu::Precision precision, std::int64_t chunk = 0, bool general = false) {
  Options options;
  options.precision = precision;
  options.chunk = chunk;
  options.general = general;
  return options;
}

// Every set of kernels that takes the sizes.
std::vector<Options> all_options(std::int64_t chunk = 0) {
  return {options_of(cpu::Precision::kFp32, chunk), options_of(cpu::Precision::kBf16, chunk, true),
          options_of(cpu::Precision::kBf16, chunk, false)};
}

double tolerance_of(const Options& options) {
  return options.precision == cpu::Precision::kFp32 ? kFp32Tolerance : kBf16Tolerance;
}

// The weights that a layer's products take in bf16, and so does the reference that it is compared with.
class RoundedWeights {
 public:
  explicit RoundedWeights(const RandomEncoder& encoder) : weights(encoder.weights) {
    const EncoderSizes& sizes = encoder.sizes;
    for (EncoderWeights::Layer& layer : weights.layers) {
      round(layer.dilated, sizes.channels * sizes.channels * sizes.kernel_size);
      round(layer.pointwise, sizes.pointwise_channels() * sizes.channels);
    }
  }
  RoundedWeights(const RoundedWeights&) = delete;
  RoundedWeights& operator=(const RoundedWeights&) = delete;

  EncoderWeights weights;

 private:
  void round(Convolution& convolution, std::int64_t count) {
    std::vector<float> values(convolution.weight, convolution.weight + count);
    for (float& value : values) value = rounded_to_bf16(value);
    kept_.push_back(std::move(values));
    convolution.weight = kept_.back().data();
  }
  std::vector<std::vector<float>> kept_;
};

void check_against_the_reference(const EncoderSizes& sizes, std::int64_t samples, const Options& options) {
  const RandomEncoder encoder(sizes);
  const RoundedWeights rounded(encoder);
  const EncoderWeights& weights = options.precision == cpu::Precision::kFp32 ? encoder.weights : rounded.weights;
  const std::vector<std::uint8_t> codes = random_codes(samples, 3);
  const std::vector<double> expected = reference::encode(sizes, weights, codes.data(), samples);
  const auto on_gpu = cuda::make_encoder(sizes, encoder.weights, 0, options);
  CAPTURE(on_gpu->kernel_name());
  CHECK(largest_difference(encode(*on_gpu, sizes, codes), expected) < tolerance_of(options));
}

// One layer, fused, of rows [0, count) of x, given `shared_limit` bytes of shared memory for a block: both planes of y.
std::vector<float> fused_layer(const EncoderSizes& sizes, const EncoderWeights::Layer& layer, std::int64_t count,
                               std::int64_t shared_limit) {
  const std::int64_t values = count * sizes.channels;
  std::vector<unsigned char> packed(static_cast<std::size_t>(cuda::encoder_layer_bytes(sizes)));
  cuda::pack_encoder_layer(sizes, layer, packed.data());
  cuda::DeviceBuffer<unsigned char> weights(static_cast<std::int64_t>(packed.size()));
  weights.copy_from_host(packed.data(), weights.size(), nullptr);
  const auto input = on_device<cuda::bf16>(random_floats(2 * values, 5)), output = poisoned<cuda::bf16>(2 * values);
  cuda::EncoderLayerCall call;
  call.x = cuda::Bf16Rows::at(input.data(), values);
  call.y = cuda::Bf16Rows::at(output.data(), values);
  call.x_view = call.y_view = {count, 0, 0, count};
  call.rows = count;
  call.dilation = 3;
  call.packed = weights.data();
  cuda::launch_encoder_layer(sizes, call, shared_limit, nullptr);
  return from_device(output);
}

EncoderSizes fused_encoder(std::int64_t channels, bool gated) {
  EncoderSizes sizes;
  sizes.gated = gated;
  sizes.blocks = 1;
  sizes.layers = 3;
  sizes.channels = channels;
  sizes.code_channels = 5;
  sizes.pool = 13;
  return sizes;
}

}  // namespace

TEST_SUITE_BEGIN("cuda");

TEST_CASE("cuda encoder: the general kernels equal the reference") {
  if (!gpu_at_hand()) return;
  for (const bool gated : {false, true}) {
    for (const std::int64_t kernel_size : {1, 2, 5}) {
      CAPTURE(gated);
      CAPTURE(kernel_size);
      EncoderSizes sizes = small_encoder();
      sizes.gated = gated;
      sizes.kernel_size = kernel_size;
      for (const Options& options : all_options()) check_against_the_reference(sizes, 50, options);
    }
  }
}

TEST_CASE("cuda encoder: the fused kernel equals the reference") {
  if (!gpu_at_hand()) return;
  for (const std::int64_t channels : {32, 64, 128}) {
    for (const bool gated : {false, true}) {
      CAPTURE(channels);
      CAPTURE(gated);
      const EncoderSizes sizes = fused_encoder(channels, gated);
      const RandomEncoder encoder(sizes);
      CHECK(cuda::make_encoder(sizes, encoder.weights, 0)->kernel_name() == "fused bf16 tensor cores");
      check_against_the_reference(sizes, 60, {});
    }
  }
}

TEST_CASE("cuda encoder: the fused kernel in little shared memory") {
  if (!gpu_at_hand()) return;
  // 100 KiB, as GPUs of compute capability 8.6 and 8.9 have: the second product's weights take the first one's place.
  for (const bool gated : {false, true}) {
    const EncoderSizes sizes = fused_encoder(128, gated);
    const RandomEncoder encoder(sizes);
    CHECK(cuda::encoder_layer_fits(sizes, 99 * 1024));
    CHECK_FALSE(cuda::encoder_layer_fits(sizes, 95 * 1024));
    const EncoderWeights::Layer& layer = encoder.weights.layers[0];
    CHECK((fused_layer(sizes, layer, 20, 99 * 1024) == fused_layer(sizes, layer, 20, 160 * 1024)));
  }
}

TEST_CASE("cuda encoder: awkward widths") {
  if (!gpu_at_hand()) return;
  for (const std::int64_t channels : {1, 3, 16, 17, 31, 33, 65}) {
    CAPTURE(channels);
    EncoderSizes sizes = small_encoder();
    sizes.blocks = 1;
    sizes.layers = 2;
    sizes.channels = channels;
    sizes.code_channels = channels / 2 + 1;
    for (const Options& options : all_options()) check_against_the_reference(sizes, 40, options);
  }
}

TEST_CASE("cuda encoder: awkward lengths") {
  if (!gpu_at_hand()) return;
  EncoderSizes sizes = small_encoder();
  sizes.blocks = 1;
  sizes.channels = 32;
  for (const std::int64_t samples : {0, 1, 12, 13, 14, 63, 64, 65, 127, 129}) {
    CAPTURE(samples);
    for (const Options& options : {options_of(cpu::Precision::kFp32), Options()}) {
      check_against_the_reference(sizes, samples, options);
    }
  }
}

TEST_CASE("cuda encoder: dilations longer than the chunks that it works in") {
  if (!gpu_at_hand()) return;
  EncoderSizes sizes = small_encoder();
  sizes.blocks = 1;
  sizes.layers = 7;
  sizes.channels = 3;
  sizes.pool = 50;
  check_against_the_reference(sizes, 400, options_of(cpu::Precision::kFp32, 16));
  sizes.channels = 32;
  sizes.layers = 6;
  check_against_the_reference(sizes, 200, options_of(cpu::Precision::kBf16, 16));
}

TEST_CASE("cuda encoder: pieces and chunks change no bit") {
  if (!gpu_at_hand()) return;
  EncoderSizes sizes = fused_encoder(32, true);
  sizes.blocks = sizes.layers = 2;
  const RandomEncoder encoder(sizes);
  const std::vector<std::uint8_t> codes = random_codes(120, 3);
  for (const Options& whole_options : all_options()) {
    const std::vector<float> whole =
        encode(*cuda::make_encoder(sizes, encoder.weights, 0, whole_options), sizes, codes);
    for (const std::int64_t chunk : {1, 17, 64}) {
      CAPTURE(chunk);
      if (chunk == 1 && whole_options.precision == cpu::Precision::kBf16) continue;  // slow, and says no more
      Options options = whole_options;
      options.chunk = chunk;
      const auto in_pieces = cuda::make_encoder(sizes, encoder.weights, 0, options);
      CAPTURE(in_pieces->kernel_name());
      // The second stream through the same encoder: the end of one is the start of the next.
      CHECK((encode(*in_pieces, sizes, codes, {0, 1, 2, 15, 16, 90}) == whole));
      if (chunk > 1) CHECK((encode(*in_pieces, sizes, codes, {119}) == whole));
    }
  }
}

TEST_CASE("cuda encoder: schedules change no bit") {
  if (!gpu_at_hand()) return;
  const EncoderSizes sizes = fused_encoder(64, true);
  const RandomEncoder encoder(sizes);
  const std::vector<std::uint8_t> codes = random_codes(70, 3);
  for (const Options& options : all_options()) {
    std::vector<float> first;
    on_every_schedule([&] {
      const std::vector<float> frames = encode(*cuda::make_encoder(sizes, encoder.weights, 0, options), sizes, codes);
      if (first.empty()) first = frames;
      CHECK((frames == first));
    });
  }
}

TEST_CASE("cuda encoder: reset forgets, and two encoders do not meet") {
  if (!gpu_at_hand()) return;
  const EncoderSizes sizes = fused_encoder(32, false);
  const RandomEncoder encoder(sizes);
  const std::vector<std::uint8_t> codes = random_codes(100, 3), others = random_codes(100, 4);
  const auto one = cuda::make_encoder(sizes, encoder.weights, 0), other = cuda::make_encoder(sizes, encoder.weights, 0);
  const std::vector<float> expected = encode(*one, sizes, codes);
  std::vector<float> frames(static_cast<std::size_t>(one->frames_within(100) * sizes.code_channels));
  one->push(others.data(), 60, frames.data());
  one->reset();
  other->push(others.data(), 100, frames.data());
  CHECK((encode(*one, sizes, codes) == expected));
}

TEST_CASE("cuda encoder: a frame appears with the last sample that it depends on") {
  if (!gpu_at_hand()) return;
  EncoderSizes sizes = small_encoder();
  sizes.blocks = 1;
  const RandomEncoder encoder(sizes);
  const auto on_gpu = cuda::make_encoder(sizes, encoder.weights, 0, options_of(cpu::Precision::kFp32));
  CHECK(on_gpu->look_ahead() == 1 + 1 + 2 + 4 + 8);
  const std::int64_t certain = sizes.pool + on_gpu->look_ahead();
  const std::vector<std::uint8_t> codes = random_codes(certain, 3);
  std::vector<float> frames(static_cast<std::size_t>(on_gpu->frames_within(certain) * sizes.code_channels));
  CHECK(on_gpu->push(codes.data(), certain - 1, frames.data()) == 0);
  CHECK(on_gpu->push(codes.data() + certain - 1, 1, frames.data()) == 1);
}

TEST_CASE("cuda encoder: chunks are long where memory allows") {
  if (!gpu_at_hand()) return;
  EncoderSizes sizes;
  sizes.blocks = sizes.layers = 1;
  const RandomEncoder encoder(sizes);
  const auto on_gpu = cuda::make_encoder(sizes, encoder.weights, 0);
  CHECK(on_gpu->chunk() == 32768);
  CHECK(on_gpu->memory_bytes() > 2 * on_gpu->chunk() * sizes.channels * 4);
  CHECK(cuda::make_encoder(sizes, encoder.weights, 0, options_of(cpu::Precision::kBf16, 7))->chunk() == 7);
}

TEST_CASE("cuda encoder: what cannot be had") {
  if (!gpu_at_hand()) return;
  const EncoderSizes sizes = small_encoder();
  const RandomEncoder encoder(sizes);
  CHECK_THROWS_AS(cuda::make_encoder(sizes, encoder.weights, 99), cuda::Error);
  CHECK_THROWS_AS(cuda::make_encoder(sizes, encoder.weights, -1), cuda::Error);
  CHECK_THROWS_AS(cuda::make_encoder(sizes, encoder.weights, 0, options_of(cpu::Precision::kInt8)),
                  std::invalid_argument);
  CHECK_THROWS_AS(cuda::make_encoder(sizes, encoder.weights, 0, options_of(cpu::Precision::kFp32, -1)),
                  std::invalid_argument);
  CHECK_THROWS_AS(cuda::make_encoder(sizes, encoder.weights, 0, options_of(cpu::Precision::kFp32, 1 << 20)),
                  std::invalid_argument);
}

#ifdef MUSICSTAR_EMULATED_GPU
TEST_CASE("cuda encoder: a GPU with too little memory, and one that is too old") {
  EncoderSizes sizes = small_encoder();
  sizes.channels = 32;
  const RandomEncoder encoder(sizes);
  const std::int64_t before = emulated_gpu::memory_in_use();
  const std::int64_t needed = cuda::make_encoder(sizes, encoder.weights, 0)->memory_bytes();
  emulated_gpu::set_memory_bytes(before + needed - 1);
  CHECK_THROWS_WITH_AS(cuda::make_encoder(sizes, encoder.weights, 0), doctest::Contains(std::to_string(needed).c_str()),
                       cuda::OutOfMemory);
  emulated_gpu::set_memory_bytes(std::int64_t{4} << 30);
  CHECK(cuda::make_encoder(sizes, encoder.weights, 0)->memory_bytes() == needed);
  CHECK(emulated_gpu::memory_in_use() == before);
  emulated_gpu::set_compute_capability(7, 5);
  CHECK_THROWS_WITH_AS(cuda::make_encoder(sizes, encoder.weights, 0), doctest::Contains("compute capability 7.5"),
                       cuda::Error);
  emulated_gpu::set_compute_capability(9, 0);
}
#endif

TEST_SUITE_END();

}  // namespace musicstar::tests
