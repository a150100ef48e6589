// The weight gradients' kernels against the sum that they stand for, in double precision, on every path.
#include <cmath>

#include "../random_networks.h"
#include "cuda/usable_device.h"
#include "cuda/weight_gradients.h"
#include "device_arrays.h"

namespace musicstar::tests {

namespace {

using cuda::Element;
using cuda::StackPath;
using cuda::WeightGradient;

struct Product {
  std::int64_t sources[2] = {0, 0};  // channels
  std::int64_t input_channels = 0;
  int taps = 1;
  std::int64_t first_shift = 0, step = 0;
  bool weights[2] = {true, true}, biases[2] = {true, false};
};

struct Case {
  std::int64_t batch = 0, time = 0;
  std::vector<Product> products;
};

// Of one product: the operands as they are stored, and what is expected of every weight and bias.
struct Operands {
  std::vector<float> gradients[2], input;
  std::vector<double> weights[2], biases[2];
};

template <class T>
Operands operands_of(const Case& run, const Product& product, std::uint64_t seed) {
  Operands all;
  const std::int64_t samples = run.batch * run.time;
  all.input = rounded_to<T>(random_floats(samples * product.input_channels, seed));
  for (int s = 0; s < 2; ++s) {
    const std::int64_t channels = product.sources[s];
    all.gradients[s] = rounded_to<T>(random_floats(samples * channels, seed + 1 + s));
    all.weights[s].assign(channels * product.input_channels * product.taps, 0.0);
    all.biases[s].assign(channels, 0.0);
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      const std::int64_t t = sample % run.time;
      for (std::int64_t o = 0; o < channels; ++o) {
        const double gradient = all.gradients[s][sample * channels + o];
        all.biases[s][o] += gradient;
        for (int k = 0; k < product.taps; ++k) {
          const std::int64_t shift = product.first_shift - k * product.step;
          if (t - shift < 0 || t - shift >= run.time) continue;
          for (std::int64_t i = 0; i < product.input_channels; ++i) {
            all.weights[s][(o * product.input_channels + i) * product.taps + k] +=
                gradient * all.input[(sample - shift) * product.input_channels + i];
          }
        }
      }
    }
  }
  return all;
}

// A sum of N products of numbers in [-1, 1], each rounded to float: its expected error grows with the root of N.
double tolerance(const Case& run) { return 2e-6 * (4.0 + std::sqrt(static_cast<double>(run.batch * run.time))); }

template <class T>
std::vector<std::vector<float>> computed(const Case& run, const std::vector<Operands>& operands, StackPath wanted,
                                         int multiprocessors) {
  cuda::WeightGradients work;
  work.element = sizeof(T) == 4 ? Element::kFloat32 : Element::kBfloat16;
  work.batch = run.batch;
  work.time = run.time;
  std::vector<cuda::DeviceBuffer<T>> memory;
  std::vector<cuda::DeviceBuffer<float>> results;
  const auto room = [&](bool is_wanted, std::int64_t size) -> float* {
    results.push_back(poisoned<float>(is_wanted ? size : 0));
    return results.back().data();
  };
  for (std::size_t p = 0; p < run.products.size(); ++p) {
    const Product& from = run.products[p];
    WeightGradient& to = work.products[work.count++];
    memory.push_back(on_device<T>(operands[p].input));
    to.input = memory.back().data();
    to.input_channels = from.input_channels;
    to.taps = from.taps;
    to.first_shift = from.first_shift;
    to.step = from.step;
    for (int s = 0; s < 2; ++s) {
      memory.push_back(on_device<T>(operands[p].gradients[s]));
      to.sources[s].gradient = memory.back().data();
      to.sources[s].channels = from.sources[s];
      to.sources[s].weight = room(from.weights[s], from.sources[s] * from.input_channels * from.taps);
      to.sources[s].bias = room(from.biases[s], from.sources[s]);
    }
  }
  const cuda::WeightGradientPlan plan = cuda::plan_weight_gradients(work, wanted, multiprocessors);
  CHECK((plan.path == wanted));
  const cuda::DeviceBuffer<char> scratch = poisoned<char>(plan.scratch_bytes);
  cuda::launch_weight_gradients(work, plan, scratch.data(), nullptr);
  std::vector<std::vector<float>> found;
  for (const auto& result : results) found.push_back(from_device(result));
  return found;
}

template <class T>
void check(const Case& run, StackPath path, int multiprocessors = 4) {
  CAPTURE(run.batch);
  CAPTURE(run.time);
  CAPTURE(std::string(cuda::name_of(path)));
  std::vector<Operands> operands;
  for (std::size_t p = 0; p < run.products.size(); ++p)
    operands.push_back(operands_of<T>(run, run.products[p], 10 * p));
  std::vector<std::vector<float>> first;
  on_every_schedule([&] {
    const std::vector<std::vector<float>> found = computed<T>(run, operands, path, multiprocessors);
    std::size_t next = 0;
    for (std::size_t p = 0; p < run.products.size(); ++p) {
      for (int s = 0; s < 2; ++s) {
        for (const auto* expected : {&operands[p].weights[s], &operands[p].biases[s]}) {
          const std::vector<float>& values = found[next++];
          double worst = 0.0;
          for (std::size_t i = 0; i < values.size(); ++i) {
            const double here = std::abs(values[i] - (*expected)[i]);
            worst = here <= worst ? worst : here;  // a NaN stays
          }
          CHECK(worst <= tolerance(run));
        }
      }
    }
    if (first.empty()) first = found;
    CHECK((found == first));  // the order of threads and copies changes no bit
  });
}

// wgmma is compiled for compute capability 9.0 alone.
bool has_wgmma() {
  if (!gpu_at_hand()) return false;
  const bool has = cuda::usable_device(0).major == 9;
  if (!has) MESSAGE("skipped: this GPU has no wgmma");
  return has;
}

Product convolution(std::int64_t outputs, std::int64_t inputs, int taps, std::int64_t first_shift, std::int64_t step) {
  Product product;
  product.sources[0] = outputs;
  product.input_channels = inputs;
  product.taps = taps;
  product.first_shift = first_shift;
  product.step = step;
  return product;
}

// The decoder's layer: 2R channels of dh against the taps of x, and dx and ds one after the other against z.
std::vector<Product> gated_layer(std::int64_t residual, std::int64_t skip, int taps, std::int64_t dilation) {
  Product dilated = convolution(2 * residual, residual, taps, (taps - 1) * dilation, dilation);
  dilated.biases[0] = false;
  Product pointwise = convolution(residual, residual, 1, 0, 0);
  pointwise.sources[1] = skip;
  return {dilated, pointwise};
}

// The encoder's layer: du against three centred taps, dp against a.
std::vector<Product> glu_layer(std::int64_t channels, std::int64_t dilation) {
  return {convolution(channels, channels, 3, dilation, dilation), convolution(2 * channels, channels, 1, 0, 0)};
}

}  // namespace

TEST_SUITE("cuda") {
  TEST_CASE("weight gradients: any sizes, float and bf16") {
    if (!gpu_at_hand()) return;
    for (const std::int64_t time : {1, 15, 16, 17, 67}) {
      check<float>({2, time, gated_layer(5, 3, 2, 3)}, StackPath::kGeneral);
      check<__nv_bfloat16>({1, time, glu_layer(7, 2)}, StackPath::kGeneral);
    }
    check<float>({3, 40, {convolution(70, 66, 3, 0, -7)}}, StackPath::kGeneral);
    check<float>({1, 20, {convolution(4, 4, 2, 100, 100)}}, StackPath::kGeneral);  // dilation beyond the sequence
  }

  TEST_CASE("weight gradients: mma.sync") {
    if (!gpu_at_hand()) return;
    for (const std::int64_t time : {1, 31, 32, 33, 97}) {
      check<__nv_bfloat16>({2, time, gated_layer(32, 32, 2, 5)}, StackPath::kMma);
      check<__nv_bfloat16>({1, time, glu_layer(64, 1)}, StackPath::kMma);
    }
    check<__nv_bfloat16>({3, 61, gated_layer(128, 128, 2, 16)}, StackPath::kMma);
    check<__nv_bfloat16>({2, 70, glu_layer(128, 64)}, StackPath::kMma);
    check<__nv_bfloat16>({2, 45, {convolution(40, 24, 3, 8, 4)}}, StackPath::kMma);  // half-empty tiles
    check<__nv_bfloat16>({1, 50, {convolution(16, 16, 2, 1000, 1000)}}, StackPath::kMma);
    check<__nv_bfloat16>({1, 50, {convolution(16, 16, 2, std::int64_t{1} << 40, std::int64_t{1} << 40)}},
                         StackPath::kMma);
  }

  TEST_CASE("weight gradients: wgmma") {
    if (!has_wgmma()) return;
    for (const std::int64_t time : {1, 63, 64, 65, 331}) {
      check<__nv_bfloat16>({1, time, gated_layer(64, 64, 2, 7)}, StackPath::kWgmma);
    }
    check<__nv_bfloat16>({3, 150, gated_layer(128, 128, 2, 16)}, StackPath::kWgmma);
    check<__nv_bfloat16>({2, 130, glu_layer(128, 64)}, StackPath::kWgmma);
    check<__nv_bfloat16>({2, 100, {convolution(192, 64, 3, 4, 2)}}, StackPath::kWgmma);
    check<__nv_bfloat16>({1, 90, {convolution(64, 64, 2, std::int64_t{1} << 40, std::int64_t{1} << 40)}},
                         StackPath::kWgmma);
    check<__nv_bfloat16>({2, 700, {convolution(64, 64, 1, 0, 0)}}, StackPath::kWgmma, 1);  // one block, many steps
  }

  TEST_CASE("weight gradients: without samples they are zero") {
    if (!gpu_at_hand()) return;
    for (const StackPath path : {StackPath::kGeneral, StackPath::kMma}) {
      check<__nv_bfloat16>({0, 10, gated_layer(32, 32, 2, 1)}, path);
      check<__nv_bfloat16>({2, 0, glu_layer(32, 1)}, path);
    }
  }

  TEST_CASE("weight gradients: how work is cut") {
    cuda::WeightGradients work;
    work.element = Element::kBfloat16;
    work.batch = 16;
    work.time = 16000;
    work.count = 2;
    work.products[0].sources[0].channels = 256;
    work.products[0].input_channels = 128;
    work.products[0].taps = 2;
    work.products[1].sources[0].channels = work.products[1].sources[1].channels = 128;
    work.products[1].input_channels = 128;
    const cuda::WeightGradientPlan wide = plan_weight_gradients(work, StackPath::kWgmma, 132);
    CHECK(wide.tiles == 3);
    CHECK(wide.splits == 44);  // 132 blocks
    CHECK(wide.scratch_bytes == 44 * 98304 * 4);
    const cuda::WeightGradientPlan narrow = plan_weight_gradients(work, StackPath::kMma, 108);
    CHECK(narrow.tiles == 6);
    CHECK(narrow.splits == 36);

    work.products[0].input_channels = 72;
    CHECK((weight_gradient_path(work, StackPath::kWgmma) == StackPath::kMma));
    work.products[0].input_channels = 7;
    CHECK((weight_gradient_path(work, StackPath::kWgmma) == StackPath::kGeneral));
    work.element = Element::kFloat32;
    CHECK((weight_gradient_path(work, StackPath::kMma) == StackPath::kGeneral));
  }
}

}  // namespace musicstar::tests
