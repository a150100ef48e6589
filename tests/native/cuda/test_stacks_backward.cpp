// The data backward kernels of the residual stacks, layer by layer, against the equations' gradients in double
// precision.
#include "glu_stack_with_sides.h"
#include "stack_layer_runs.h"

namespace musicstar::tests {

namespace {

// As in the forward; a gradient passes through about twice as many roundings.
constexpr double kFloatTolerance = 4e-6, kBf16Tolerance = 6e-3;

template <class T>
void check_gated_as(RandomGatedStack& stack, StackPath path, double tolerance) {
  round_to_storage<T>(stack);
  const Outcome<double> expected = reference_outcome(stack);
  const LayerRun run = run_layers<T>(stack, path, true);
  CHECK(norm_difference(run.result, expected[0].data()) < tolerance);
  CHECK(norm_difference(run.dx, expected[1].data()) < tolerance);
  CHECK(norm_difference(run.dcondition, expected[2].data()) < tolerance);
}

void check_gated(const GatedResidualStackSizes& sizes, const std::vector<std::int64_t>& dilations, StackPath path) {
  CAPTURE(sizes.batch);
  CAPTURE(sizes.time);
  CAPTURE(sizes.residual);
  CAPTURE(sizes.kernel_size);
  RandomGatedStack stack(sizes, dilations);
  if (path == StackPath::kGeneral) check_gated_as<float>(stack, path, kFloatTolerance);
  check_gated_as<__nv_bfloat16>(stack, path, kBf16Tolerance);
}

template <class T>
void check_glu_as(RandomGluStack& stack, StackPath path, double tolerance) {
  round_to_storage<T>(stack);
  const LayerRun run = run_layers<T>(stack, path, true);
  const Outcome<double> expected = reference_outcome_with_sides(stack, run.a);
  CHECK(norm_difference(run.result, expected[0].data()) < tolerance);
  CHECK(norm_difference(run.dx, expected[1].data()) < tolerance);
  if (sizeof(T) == 4) {  // sums of fp32 fall on the sides that those in double precision fall on
    const Outcome<double> plain = reference_outcome(stack);
    for (std::size_t part = 0; part < plain.size(); ++part) {
      CHECK(relative_difference(expected[part], plain[part]) < 1e-9);
    }
  }
}

void check_glu(const GluResidualStackSizes& sizes, const std::vector<std::int64_t>& dilations, StackPath path) {
  CAPTURE(sizes.gated);
  CAPTURE(sizes.batch);
  CAPTURE(sizes.time);
  CAPTURE(sizes.channels);
  CAPTURE(sizes.kernel_size);
  RandomGluStack stack(sizes, dilations);
  if (path == StackPath::kGeneral) check_glu_as<float>(stack, path, kFloatTolerance);
  check_glu_as<__nv_bfloat16>(stack, path, kBf16Tolerance);
}

}  // namespace

TEST_SUITE("cuda") {
  TEST_CASE("gated stack backward: any sizes") {
    if (!gpu_at_hand()) return;
    check_gated(gated_sizes(2, 70, 5, 7, 2, 16), {1, 2, 4}, StackPath::kGeneral);
    check_gated(gated_sizes(1, 65, 67, 33, 3, 1), {3, 1}, StackPath::kGeneral);
    check_gated(gated_sizes(3, 1, 1, 1, 1, 800), {1}, StackPath::kGeneral);
    check_gated(gated_sizes(1, 64, 8, 130, 4, 7), {100, 1}, StackPath::kGeneral);
  }

  TEST_CASE("GLU and plain stack backward: any sizes") {
    if (!gpu_at_hand()) return;
    for (const bool gated : {true, false}) {
      check_glu(glu_sizes(gated, 2, 70, 5, 3), {1, 2, 4}, StackPath::kGeneral);
      check_glu(glu_sizes(gated, 1, 65, 67, 2), {3, 1}, StackPath::kGeneral);
      check_glu(glu_sizes(gated, 3, 1, 1, 1), {1}, StackPath::kGeneral);
      check_glu(glu_sizes(gated, 1, 64, 8, 5), {100, 1}, StackPath::kGeneral);
    }
  }

  TEST_CASE("gated stack backward: tensor cores") {
    for_tensor_core_paths([](StackPath path) {
      for (const std::int64_t time : {1, 64, 127, 129}) {
        check_gated(gated_sizes(2, time, 32, 32, 2, 50), {1, 16, 300}, path);
      }
      for (const std::int64_t kernel_size : {1, 3}) {
        check_gated(gated_sizes(1, 130, 32, 32, kernel_size, 1), {1, 40}, path);
        check_gated(gated_sizes(1, 130, 64, 64, kernel_size, 800), {2, 5}, path);
        check_gated(gated_sizes(1, 100, 128, 128, kernel_size, 33), {2, 3}, path);
      }
      check_gated(gated_sizes(3, 131, 64, 64, 2, 100), {1, 64}, path);
      check_gated(gated_sizes(1, 70, 64, 64, 3, 50), {1, 300}, path);  // a dilation beyond the sequence
      check_gated(gated_sizes(1, 200, 128, 128, 2, 160), {1, 130}, path);
    });
  }

  TEST_CASE("GLU and plain stack backward: tensor cores") {
    for_tensor_core_paths([](StackPath path) {
      for (const bool gated : {true, false}) {
        for (const std::int64_t time : {1, 64, 127, 129}) {
          check_glu(glu_sizes(gated, 2, time, 32, 3), {1, 16, 300}, path);
        }
        for (const std::int64_t kernel_size : {1, 2}) {
          check_glu(glu_sizes(gated, 1, 130, 32, kernel_size), {1, 40}, path);
          check_glu(glu_sizes(gated, 1, 130, 64, kernel_size), {2, 5}, path);
          check_glu(glu_sizes(gated, 1, 100, 128, kernel_size), {2, 3}, path);
        }
        check_glu(glu_sizes(gated, 3, 131, 64, 3), {1, 64}, path);
        check_glu(glu_sizes(gated, 1, 70, 64, 3), {1, 300}, path);
        check_glu(glu_sizes(gated, 1, 200, 128, 3), {1, 130}, path);
        for (const std::int64_t channels : {32, 64, 128}) check_glu(glu_sizes(gated, 1, 193, channels, 3), {20}, path);
      }
    });
  }

  TEST_CASE("stack backward: many tiles a block") {
    for_tensor_core_paths([](StackPath path) {
      for (const int multiprocessors : {3, 6}) {  // a cluster takes three
        with_multiprocessors(multiprocessors, [&] {
          for (const std::int64_t kernel_size : {1, 2, 3}) {
            check_gated(gated_sizes(3, 300, 64, 64, kernel_size, 50), {7}, path);
            check_glu(glu_sizes(true, 3, 300, 64, kernel_size), {7}, path);
          }
          check_gated(gated_sizes(1, 400, 128, 128, 2, 50), {1}, path);
          check_glu(glu_sizes(true, 1, 400, 128, 3), {1}, path);
        });
      }
    });
  }

  TEST_CASE("stack backward: equal bits whatever the order of threads and copies") {
    for_tensor_core_paths([](StackPath path) {
      RandomGatedStack gated(gated_sizes(2, 150, 64, 64, 2, 50), {1, 70});
      RandomGluStack glu(glu_sizes(true, 1, 150, 64, 3), {1, 70});
      const LayerRun gated_first = run_layers<__nv_bfloat16>(gated, path, true);
      const LayerRun glu_first = run_layers<__nv_bfloat16>(glu, path, true);
      on_every_schedule([&] {
        with_multiprocessors(3, [&] {
          const LayerRun again = run_layers<__nv_bfloat16>(gated, path, true);
          CHECK(again.dx == gated_first.dx);
          CHECK(again.dcondition == gated_first.dcondition);
          CHECK(run_layers<__nv_bfloat16>(glu, path, true).dx == glu_first.dx);
        });
      });
    });
  }

  // Were the sums of a backward rounded otherwise than the forward's, a unit could be off there that was on here. The
  // upper half of the channels is zero in x and shows a of a plain layer as it is: x_next = 0 + a. The outer taps
  // cancel but for rounding, and leave what decides the sign to the middle one: an order of its own would show.
  TEST_CASE("encoder stack backward: the forward's ReLUs, to the bit") {
    const auto check = [](StackPath path, std::int64_t C) {
      RandomGluStack stack(glu_sizes(false, 2, 90, C, 3), {1});
      const std::int64_t half = C / 2;
      for (std::int64_t i = 0; i < stack.x.size(); ++i) stack.x.single[i] = i % C < half ? stack.x.single[i % C] : 0.0f;
      for (std::int64_t o = 0; o < C; ++o) {
        stack.dilated_bias.single[o] = 0.0f;
        for (std::int64_t j = 0; j < C; ++j) {
          float* taps = &stack.dilated.single[(o * C + j) * 3];
          taps[1] *= 0x1p-18f;
          taps[2] = -taps[0];
          stack.pointwise.single[o * C + j] = o == j && o >= half ? 1.0f : 0.0f;
        }
        stack.pointwise_bias.single[o] = 0.0f;
      }
      const LayerRun run = run_layers<__nv_bfloat16>(stack, path, true);
      std::int64_t on = 0;
      for (std::int64_t i = 0; i < stack.x.size(); ++i) {
        if (i % C < half) continue;
        REQUIRE(run.result[i] == run.a[i]);
        on += run.a[i] > 0.0f;
      }
      CHECK(on > stack.x.size() / 8);
      CHECK(on < stack.x.size() * 3 / 8);
    };
    if (gpu_at_hand()) check(StackPath::kGeneral, 10);
    for_tensor_core_paths([&](StackPath path) {
      check(path, 32);
      check(path, 64);
    });
  }
}

}  // namespace musicstar::tests
