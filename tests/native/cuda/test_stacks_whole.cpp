// Whole stacks on the GPU, forward and backward in one call each, against the reference in double precision.
#include <cmath>
#include <stdexcept>

#include "../random_stacks.h"
#include "device_arrays.h"
#include "glu_stack_with_sides.h"
#include "musicstar/cuda_stacks.h"
#include "stack_layer_runs.h"

namespace musicstar::tests {

namespace {

using cuda::Element;
using cuda::StackPath;

// In fp32, of the largest magnitude.
constexpr double kSingleTolerance = 3e-5;
// In bf16, of the norm. The reference sees inputs and weights rounded alike, and the same sides of a GLU stack's ReLUs;
// what is left is the rounding of operands and of the result (2^-9 each). Deep stacks are as large as nn.Conv1d makes
// them; the others, of a few layers, have gain 1.
constexpr double kHalfTolerance = 6e-3, kHalfToleranceOfResult = 4e-3;

double difference_of_norms(const std::vector<float>& found, const std::vector<double>& expected) {
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), 1e-6);
}

// One stack's arrays on the device, with room for all gradients, and its calls.
template <class T>
class OnDevice {
 public:
  OnDevice(const RandomGatedStack& stack, StackPath path)
      : x_(on_device<T>(stack.x.single)), result_gradient_(on_device<T>(stack.result_gradient.single)) {
    for (const Tensor* tensor :
         {&stack.condition, &stack.dilated, &stack.residual, &stack.residual_bias, &stack.skip}) {
      parameters_.push_back(on_device<float>(tensor->single));
    }
    make_room(stack.result_size(), cuda::gated_residual_stack_memory(stack.sizes, element_of<T>(), path));
  }
  OnDevice(const RandomGluStack& stack, StackPath path)
      : x_(on_device<T>(stack.x.single)), result_gradient_(on_device<T>(stack.result_gradient.single)) {
    for (const Tensor* tensor : {&stack.dilated, &stack.dilated_bias, &stack.pointwise, &stack.pointwise_bias}) {
      parameters_.push_back(on_device<float>(tensor->single));
    }
    make_room(stack.result_size(), cuda::glu_residual_stack_memory(stack.sizes, element_of<T>(), path));
  }

  void forward(const RandomGatedStack& stack, StackPath path) {
    gated_residual_stack_forward(stack.sizes, element_of<T>(), gated(), result_.data(), saved_.data(), forward_.data(),
                                 nullptr, path);
  }
  void forward(const RandomGluStack& stack, StackPath path) {
    glu_residual_stack_forward(stack.sizes, element_of<T>(), glu(), result_.data(), saved_.data(), forward_.data(),
                               nullptr, path);
  }
  void infer(const RandomGatedStack& stack, StackPath path) {
    const auto scratch = poisoned<char>(memory_.inference);
    gated_residual_stack_forward(stack.sizes, element_of<T>(), gated(), result_.data(), nullptr, scratch.data(),
                                 nullptr, path);
    cuda::check(cudaStreamSynchronize(nullptr), "running");
  }
  void infer(const RandomGluStack& stack, StackPath path) {
    const auto scratch = poisoned<char>(memory_.inference);
    glu_residual_stack_forward(stack.sizes, element_of<T>(), glu(), result_.data(), nullptr, scratch.data(), nullptr,
                               path);
    cuda::check(cudaStreamSynchronize(nullptr), "running");
  }
  // Bit i of `wanted`: the i-th gradient, x first.
  void backward(const RandomGatedStack& stack, StackPath path, unsigned wanted) {
    const auto gradient = [&](int i) { return (wanted >> i & 1) != 0 ? gradients_[i - 1].data() : nullptr; };
    const cuda::GatedResidualStackGradients gradients = {(wanted & 1) != 0 ? x_gradient_.data() : nullptr,
                                                         gradient(1),
                                                         gradient(2),
                                                         gradient(3),
                                                         gradient(4),
                                                         gradient(5)};
    const auto scratch = poisoned<char>(memory_.backward);
    gated_residual_stack_backward(stack.sizes, element_of<T>(), gated(), result_gradient_.data(), gradients,
                                  saved_.data(), scratch.data(), nullptr, path);
    cuda::check(cudaStreamSynchronize(nullptr), "running");
  }
  void backward(const RandomGluStack& stack, StackPath path, unsigned wanted) {
    const auto gradient = [&](int i) { return (wanted >> i & 1) != 0 ? gradients_[i - 1].data() : nullptr; };
    const cuda::GluResidualStackGradients gradients = {(wanted & 1) != 0 ? x_gradient_.data() : nullptr, gradient(1),
                                                       gradient(2), gradient(3), gradient(4)};
    const auto scratch = poisoned<char>(memory_.backward);
    glu_residual_stack_backward(stack.sizes, element_of<T>(), glu(), result_gradient_.data(), gradients, saved_.data(),
                                scratch.data(), nullptr, path);
    cuda::check(cudaStreamSynchronize(nullptr), "running");
  }

  std::vector<float> result() const { return from_device(result_); }
  // The result, then the gradients: as Outcome.
  Outcome<float> outcome() const {
    Outcome<float> all = {from_device(result_), from_device(x_gradient_)};
    for (const auto& gradient : gradients_) all.push_back(from_device(gradient));
    return all;
  }

 private:
  void make_room(std::int64_t result_size, const StackMemory& memory) {
    memory_ = memory;
    result_ = poisoned<T>(result_size);
    x_gradient_ = poisoned<T>(x_.size());
    for (const auto& parameter : parameters_) gradients_.push_back(poisoned<float>(parameter.size()));
    saved_ = poisoned<char>(memory.saved);
    forward_ = poisoned<char>(memory.forward);
  }
  cuda::GatedResidualStackInputs gated() const {
    return {x_.data(),
            parameters_[0].data(),
            parameters_[1].data(),
            parameters_[2].data(),
            parameters_[3].data(),
            parameters_[4].data()};
  }
  cuda::GluResidualStackInputs glu() const {
    return {x_.data(), parameters_[0].data(), parameters_[1].data(), parameters_[2].data(), parameters_[3].data()};
  }

  StackMemory memory_;
  cuda::DeviceBuffer<T> x_, result_gradient_, result_, x_gradient_;
  std::vector<cuda::DeviceBuffer<float>> parameters_, gradients_;
  cuda::DeviceBuffer<char> saved_, forward_;
};

// Part 0 is the result, the others are gradients.
template <class T>
void check_close(std::size_t part, const std::vector<float>& found, const std::vector<double>& expected) {
  CAPTURE(part);
  REQUIRE(found.size() == expected.size());
  if (sizeof(T) == 4) {
    CHECK(relative_difference(found, expected) < kSingleTolerance);
  } else {
    CHECK(difference_of_norms(found, expected) < (part == 0 ? kHalfToleranceOfResult : kHalfTolerance));
  }
}

// What the stack should give; `found` by the layers' kernels, one by one.
Outcome<double> expected_of(const RandomGatedStack& stack, const LayerRun&) { return reference_outcome(stack); }
Outcome<double> expected_of(const RandomGluStack& stack, const LayerRun& found) {
  return reference_outcome_with_sides(stack, found.a);
}

// Forward, backward and inference of one stack on one path, under every schedule or the one that there is.
template <class T, class Stack>
void check(Stack& stack, StackPath path, bool every_schedule = true) {
  CAPTURE(stack.sizes.batch);
  CAPTURE(stack.sizes.time);
  CAPTURE(std::string(cuda::name_of(path)));
  round_to_storage<T>(stack);
  const LayerRun layers = run_layers<T>(stack, path, true);
  const Outcome<double> expected = expected_of(stack, layers);
  Outcome<float> first;
  const auto run = [&] {
    OnDevice<T> device(stack, path);
    device.forward(stack, path);
    device.backward(stack, path, ~0u);
    const Outcome<float> found = device.outcome();
    for (std::size_t part = 0; part < expected.size(); ++part) check_close<T>(part, found[part], expected[part]);
    if (stack.sizes.layers > 0) {
      CHECK((found[0] == layers.result));
      CHECK((found[1] == layers.dx));
    }
    device.infer(stack, path);
    check_close<T>(0, device.result(), expected[0]);
    if (first.empty()) first = found;
    CHECK((found == first));
  };
  every_schedule ? on_every_schedule(run) : run();
}

struct Sizes {
  std::int64_t batch, time, channels, kernel_size;
  std::vector<std::int64_t> dilations;
  std::int64_t pool = 7;
  bool every_schedule = true;
  bool as_default = false;  // weights as nn.Conv1d's
};

template <class T>
void check_gated(const Sizes& of, StackPath path, std::int64_t skip = 0) {
  GatedResidualStackSizes sizes;
  sizes.batch = of.batch;
  sizes.time = of.time;
  sizes.residual = of.channels;
  sizes.skip = skip == 0 ? of.channels : skip;
  sizes.kernel_size = of.kernel_size;
  sizes.pool = of.pool;
  RandomGatedStack stack(sizes, of.dilations);
  if (of.as_default) scale_to_default(stack);
  check<T>(stack, path, of.every_schedule);
}

template <class T>
void check_glu(bool gated, const Sizes& of, StackPath path) {
  CAPTURE(gated);
  GluResidualStackSizes sizes;
  sizes.gated = gated;
  sizes.batch = of.batch;
  sizes.time = of.time;
  sizes.channels = of.channels;
  sizes.kernel_size = of.kernel_size;
  RandomGluStack stack(sizes, of.dilations);
  if (of.as_default) scale_to_default(stack);
  check<T>(stack, path, of.every_schedule);
}
template <class T>
void check_glu(const Sizes& of, StackPath path) {
  for (const bool gated : {true, false}) check_glu<T>(gated, of, path);
}

// The tensor-core paths that this GPU has.
std::vector<StackPath> tensor_core_paths() {
  GluResidualStackSizes sizes;
  sizes.channels = 64;
  std::vector<StackPath> paths;
  for (const StackPath path : {StackPath::kMma, StackPath::kWgmma}) {
    try {
      cuda::resolve_path(sizes, Element::kBfloat16, path);
      paths.push_back(path);
    } catch (const std::invalid_argument& error) {
      MESSAGE("skipped: ", error.what());
    }
  }
  return paths;
}

using bf16 = __nv_bfloat16;

}  // namespace

TEST_SUITE("cuda") {
  TEST_CASE("whole gated stacks in fp32, any sizes") {
    if (!gpu_at_hand()) return;
    check_gated<float>({2, 19, 5, 2, {1, 2, 4}}, StackPath::kGeneral, 3);
    check_gated<float>({1, 1, 4, 3, {1, 2}}, StackPath::kGeneral);
    check_gated<float>({3, 33, 8, 1, {1, 30, 100, 1, 2}, 33}, StackPath::kGeneral);  // a dilation beyond the sequence
  }

  TEST_CASE("whole encoder stacks in fp32, any sizes") {
    if (!gpu_at_hand()) return;
    check_glu<float>({2, 19, 5, 3, {1, 2, 4}}, StackPath::kGeneral);
    check_glu<float>({1, 1, 4, 3, {1}}, StackPath::kGeneral);
    check_glu<float>({1, 37, 6, 2, {1, 40, 3, 2}}, StackPath::kGeneral);
  }

  TEST_CASE("whole stacks in bf16 without tensor cores") {
    if (!gpu_at_hand()) return;
    check_gated<bf16>({2, 19, 7, 2, {1, 2, 4}}, StackPath::kGeneral, 3);
    check_glu<bf16>({2, 19, 7, 3, {1, 2, 4}}, StackPath::kGeneral);
  }

  TEST_CASE("whole gated stacks on tensor cores") {
    if (!gpu_at_hand()) return;
    for (const StackPath path : tensor_core_paths()) {
      check_gated<bf16>({2, 67, 32, 2, {1, 2, 4}, 20}, path);
      check_gated<bf16>({1, 130, 64, 2, {1, 64}, 50, false}, path);
      check_gated<bf16>({1, 1, 32, 2, {1, 2}, 20}, path);
    }
  }

  TEST_CASE("whole encoder stacks on tensor cores") {
    if (!gpu_at_hand()) return;
    for (const StackPath path : tensor_core_paths()) {
      check_glu<bf16>({2, 67, 32, 3, {1, 2, 4}}, path);
      check_glu<bf16>({1, 130, 64, 3, {1, 64}, 0, false}, path);
    }
  }

  TEST_CASE("whole stacks of the paper's width") {
    if (!gpu_at_hand()) return;
    for (const StackPath path : tensor_core_paths()) {
      check_gated<bf16>({1, 131, 128, 2, {1, 16}, 100, false}, path);
      check_glu<bf16>({1, 131, 128, 3, {16}, 0, false}, path);
    }
  }

  // The networks' own depths: 4 x 10 layers of the decoder, 4 x 14 and 3 x 10 of the encoders.
  TEST_CASE("whole stacks in bf16 at full depth") {
    if (!gpu_at_hand()) return;
    const auto check_depths = [](StackPath path, std::int64_t channels, std::int64_t time) {
      const auto of = [&](std::int64_t kernel_size, std::int64_t blocks, std::int64_t layers) {
        return Sizes{1, time, channels, kernel_size, doubling_dilations(blocks, layers), 50, false, true};
      };
      check_gated<bf16>(of(2, 4, 10), path);
      check_glu<bf16>(true, of(3, 4, 14), path);
      check_glu<bf16>(false, of(3, 3, 10), path);
    };
    check_depths(StackPath::kGeneral, 8, 40);
    for (const StackPath path : tensor_core_paths()) {
      path == StackPath::kWgmma ? check_depths(path, 64, 70) : check_depths(path, 32, 130);
    }
  }

  // With x = 1 and weights that let a layer add 2^-12 forward and 2^-11 of dx backward, a stream rounded to bf16 after
  // each layer (whose steps are 2^-7 there) would never leave 1.
  TEST_CASE("what a layer adds to a stream in bf16 is not lost, however little") {
    if (!gpu_at_hand()) return;
    const auto check_sums = [](StackPath path, bool gated, double sign, std::int64_t C) {
      CAPTURE(std::string(cuda::name_of(path)));
      CAPTURE(gated);
      const std::int64_t layers = 40, time = 67;
      RandomGluStack stack(glu_sizes(gated, 1, time, C, 3), std::vector<std::int64_t>(layers, 1));
      const auto fill = [](Tensor& tensor, float value) {
        std::fill(tensor.single.begin(), tensor.single.end(), value);
      };
      const float little = static_cast<float>(sign) * 0x1p-11f;
      for (Tensor* tensor : {&stack.x, &stack.result_gradient}) fill(*tensor, static_cast<float>(sign));
      for (Tensor* tensor : {&stack.dilated, &stack.pointwise, &stack.pointwise_bias}) fill(*tensor, 0.0f);
      fill(stack.dilated_bias, 2.0f);  // every unit is on
      // da = dx little, du = da, dx += du; a gate of sigmoid(0) halves it, and is made up for.
      for (std::int64_t l = 0; l < layers; ++l) {
        for (std::int64_t c = 0; c < C; ++c) {
          stack.dilated.single[((l * C + c) * C + c) * 3 + 1] = 1.0f;
          const std::int64_t row = l * stack.sizes.pointwise_channels() + c;
          stack.pointwise.single[row * C + c] = std::abs(little) * (gated ? 2.0f : 1.0f);
          stack.pointwise_bias.single[row] =
              -std::abs(little) * (gated ? 2.0f : 1.0f) * (2.0f + sign) + little * (gated ? 1.0f : 0.5f);
        }
      }
      OnDevice<bf16> device(stack, path);
      device.forward(stack, path);
      device.backward(stack, path, ~0u);
      const Outcome<float> found = device.outcome();
      device.infer(stack, path);
      const double grown = sign * (1.0 + layers * 0x1p-12), back = sign * std::pow(1.0 + 0x1p-11, layers);
      const auto largest_error = [](const std::vector<float>& values, double expected) {
        double largest = 0.0;
        for (const float value : values) largest = std::max(largest, std::abs(value - expected));
        return largest;
      };
      // Half a step of the result's. What products add backward grows with the bf16 of dx, by steps: a little later.
      CHECK(largest_error(found[0], grown) <= 0x1p-8);
      CHECK(largest_error(device.result(), grown) <= 0x1p-8);
      CHECK(largest_error(found[1], back) <= 0x1p-8 + 0x1p-10);
    };
    for (const bool gated : {true, false}) {
      const double sign = gated ? 1.0 : -1.0;
      check_sums(StackPath::kGeneral, gated, sign, 3);
      for (const StackPath path : tensor_core_paths()) {
        check_sums(path, gated, sign, path == StackPath::kWgmma ? 64 : 32);
      }
    }
  }

  TEST_CASE("whole stacks without samples or layers") {
    if (!gpu_at_hand()) return;
    check_gated<float>({0, 5, 4, 2, {1, 2}}, StackPath::kGeneral);
    check_gated<float>({2, 5, 4, 2, {}}, StackPath::kGeneral);
    check_glu<float>({0, 5, 4, 3, {1, 2}}, StackPath::kGeneral);
    check_glu<float>({2, 5, 4, 3, {}}, StackPath::kGeneral);
  }

  TEST_CASE("a gradient that is not wanted changes no other") {
    if (!gpu_at_hand()) return;
    GatedResidualStackSizes gated_sizes;
    gated_sizes.batch = 1;
    gated_sizes.time = 21;
    gated_sizes.residual = gated_sizes.skip = 4;
    gated_sizes.pool = 8;
    const RandomGatedStack gated(gated_sizes, {1, 2});
    GluResidualStackSizes glu_sizes;
    glu_sizes.batch = 1;
    glu_sizes.time = 21;
    glu_sizes.channels = 4;
    const RandomGluStack glu(glu_sizes, {1, 2});
    const auto check_subsets = [](const auto& stack, int gradients) {
      OnDevice<float> whole(stack, StackPath::kGeneral);
      whole.forward(stack, StackPath::kGeneral);
      whole.backward(stack, StackPath::kGeneral, ~0u);
      const Outcome<float> all = whole.outcome();
      std::vector<unsigned> subsets = {0};  // none, each alone, all but each
      for (int i = 0; i < gradients; ++i) {
        subsets.push_back(1u << i);
        subsets.push_back(~(1u << i));
      }
      for (const unsigned wanted : subsets) {
        CAPTURE(wanted);
        OnDevice<float> part(stack, StackPath::kGeneral);
        part.forward(stack, StackPath::kGeneral);
        part.backward(stack, StackPath::kGeneral, wanted);
        const Outcome<float> some = part.outcome();
        for (int i = 0; i < gradients; ++i) {
          if ((wanted >> i & 1) != 0) {
            CHECK((some[i + 1] == all[i + 1]));
          } else {
            CHECK(std::isnan(some[i + 1][0]));  // untouched
          }
        }
      }
    };
    check_subsets(gated, 6);
    check_subsets(glu, 5);
  }

  TEST_CASE("paths that cannot are refused") {
    if (!gpu_at_hand()) return;
    GluResidualStackSizes sizes;
    sizes.channels = 48;
    CHECK((cuda::resolve_path(sizes, Element::kBfloat16, StackPath::kAutomatic) == StackPath::kGeneral));
    CHECK_THROWS_AS(cuda::resolve_path(sizes, Element::kBfloat16, StackPath::kMma), std::invalid_argument);
    sizes.channels = 64;
    CHECK_THROWS_AS(cuda::resolve_path(sizes, Element::kFloat32, StackPath::kMma), std::invalid_argument);
    CHECK_THROWS_AS(cuda::stack_path_named("fastest"), std::invalid_argument);
  }
}

}  // namespace musicstar::tests
