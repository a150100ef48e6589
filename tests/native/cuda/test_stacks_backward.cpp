// The data backward kernels of the residual stacks, layer by layer, against the equations' gradients in double
// precision.
#include "stack_layer_runs.h"

namespace musicstar::tests {

namespace {

// As in the forward; a gradient passes through about twice as many roundings.
constexpr double kFloatTolerance = 4e-6, kBf16Tolerance = 8e-3;

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
  const Outcome<double> expected = reference_outcome(stack);
  const LayerRun run = run_layers<T>(stack, path, true);
  CHECK(norm_difference(run.result, expected[0].data()) < tolerance);
  CHECK(norm_difference(run.dx, expected[1].data()) < tolerance);
}

void check_glu(const GluResidualStackSizes& sizes, const std::vector<std::int64_t>& dilations, StackPath path) {
  CAPTURE(sizes.gated);
  CAPTURE(sizes.batch);
  CAPTURE(sizes.time);
  CAPTURE(sizes.channels);
  CAPTURE(sizes.kernel_size);
  RandomGluStack stack(sizes, dilations);
  if (path == StackPath::kGeneral) check_glu_as<float>(stack, path, kFloatTolerance);
  // From the second layer on, x has been rounded: a ReLU's input near zero may fall to the other side, and its gradient
  // is then another. A few in a thousand do, whatever computes.
  check_glu_as<__nv_bfloat16>(stack, path, dilations.size() == 1 ? kBf16Tolerance : 6e-2);
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

  // The depth of the decoder, weights as large as nn.Conv1d makes them (a third of the variance that RandomGatedStack
  // gives). What is left is nearly all from rounding x and dx to bf16 forty times: 0.65e-2 in the result, 1.0e-2 in dx.
  TEST_CASE("gated stack, 40 layers in bf16: about 1e-2 of double precision") {
    for_tensor_core_paths([](StackPath path) {
      std::vector<std::int64_t> dilations;
      for (std::int64_t l = 0; l < 40; ++l) dilations.push_back(std::int64_t{1} << l % 10);
      RandomGatedStack stack(gated_sizes(1, 128, 32, 32, 2, 50), dilations);
      for (Tensor* tensor : {&stack.dilated, &stack.residual, &stack.skip}) {
        for (float& value : tensor->single) value *= 0.57735f;
      }
      check_gated_as<__nv_bfloat16>(stack, path, 1.1e-2);
    });
  }
}

}  // namespace musicstar::tests
