// The forward kernels of the residual stacks, layer by layer, against the equations in double precision, on every path.
#include "stack_layer_runs.h"

namespace musicstar::tests {

namespace {

// fp32 sums of a few hundred terms; bf16 results of a few layers whose operands the reference has rounded alike: each
// stored value adds at most 2^-9 of itself.
constexpr double kFloatTolerance = 2e-6, kBf16Tolerance = 5e-3;

template <class T, class Stack>
double forward_error(Stack& stack, StackPath path) {
  round_to_storage<T>(stack);
  std::vector<double> expected(static_cast<std::size_t>(stack.result_size()));
  reference_forward(stack, stack.exact(), expected.data());
  return norm_difference(run_layers<T>(stack, path, false).result, expected.data());
}

void check_gated(const GatedResidualStackSizes& sizes, const std::vector<std::int64_t>& dilations, StackPath path) {
  CAPTURE(sizes.batch);
  CAPTURE(sizes.time);
  CAPTURE(sizes.residual);
  CAPTURE(sizes.kernel_size);
  RandomGatedStack stack(sizes, dilations);
  if (path == StackPath::kGeneral) CHECK(forward_error<float>(stack, path) < kFloatTolerance);
  CHECK(forward_error<__nv_bfloat16>(stack, path) < kBf16Tolerance);
}

void check_glu(const GluResidualStackSizes& sizes, const std::vector<std::int64_t>& dilations, StackPath path) {
  CAPTURE(sizes.gated);
  CAPTURE(sizes.batch);
  CAPTURE(sizes.time);
  CAPTURE(sizes.channels);
  CAPTURE(sizes.kernel_size);
  RandomGluStack stack(sizes, dilations);
  if (path == StackPath::kGeneral) CHECK(forward_error<float>(stack, path) < kFloatTolerance);
  CHECK(forward_error<__nv_bfloat16>(stack, path) < kBf16Tolerance);
}

const std::vector<std::int64_t> kTimes = {1, 63, 64, 65, 127, 128, 129, 257};

}  // namespace

TEST_SUITE("cuda") {
  TEST_CASE("gated stack forward: any sizes") {
    if (!gpu_at_hand()) return;
    check_gated(gated_sizes(2, 70, 5, 7, 2, 16), {1, 2, 4}, StackPath::kGeneral);
    check_gated(gated_sizes(1, 65, 67, 33, 3, 1), {3, 1}, StackPath::kGeneral);
    check_gated(gated_sizes(3, 1, 1, 1, 1, 800), {1}, StackPath::kGeneral);
    check_gated(gated_sizes(1, 64, 8, 130, 4, 7), {100, 1}, StackPath::kGeneral);
  }

  TEST_CASE("GLU and plain stack forward: any sizes") {
    if (!gpu_at_hand()) return;
    for (const bool gated : {true, false}) {
      check_glu(glu_sizes(gated, 2, 70, 5, 3), {1, 2, 4}, StackPath::kGeneral);
      check_glu(glu_sizes(gated, 1, 65, 67, 2), {3, 1}, StackPath::kGeneral);
      check_glu(glu_sizes(gated, 3, 1, 1, 1), {1}, StackPath::kGeneral);
      check_glu(glu_sizes(gated, 1, 64, 8, 5), {100, 1}, StackPath::kGeneral);
    }
  }

  TEST_CASE("gated stack forward: tensor cores") {
    for_tensor_core_paths([](StackPath path) {
      for (const std::int64_t time : kTimes) check_gated(gated_sizes(2, time, 32, 32, 2, 50), {1, 16, 300}, path);
      for (const std::int64_t kernel_size : {1, 3}) {
        check_gated(gated_sizes(1, 130, 32, 32, kernel_size, 1), {1, 40}, path);
        check_gated(gated_sizes(1, 130, 64, 64, kernel_size, 800), {2, 5}, path);
        check_gated(gated_sizes(1, 100, 128, 128, kernel_size, 33), {2}, path);
      }
      check_gated(gated_sizes(3, 131, 64, 64, 2, 100), {1, 64}, path);
      check_gated(gated_sizes(1, 200, 128, 128, 2, 160), {1, 130}, path);
    });
  }

  TEST_CASE("GLU and plain stack forward: tensor cores") {
    for_tensor_core_paths([](StackPath path) {
      for (const bool gated : {true, false}) {
        for (const std::int64_t time : kTimes) check_glu(glu_sizes(gated, 2, time, 32, 3), {1, 16, 300}, path);
        for (const std::int64_t kernel_size : {1, 2}) {
          check_glu(glu_sizes(gated, 1, 130, 32, kernel_size), {1, 40}, path);
          check_glu(glu_sizes(gated, 1, 130, 64, kernel_size), {2, 5}, path);
          check_glu(glu_sizes(gated, 1, 100, 128, kernel_size), {2}, path);
        }
        check_glu(glu_sizes(gated, 3, 131, 64, 3), {1, 64}, path);
        check_glu(glu_sizes(gated, 1, 200, 128, 3), {1, 130}, path);
      }
    });
  }

  TEST_CASE("stack forward: many tiles a block") {
    for_tensor_core_paths([](StackPath path) {
      for (const int multiprocessors : {1, 2}) {
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

  TEST_CASE("stack forward: nothing for an empty batch or sequence") {
    if (!gpu_at_hand()) return;
    for (const StackPath path : {StackPath::kGeneral, StackPath::kMma, StackPath::kWgmma}) {
      RandomGatedStack without_batch(gated_sizes(0, 10, 32, 32, 2, 5), {1, 2});
      RandomGatedStack without_time(gated_sizes(2, 0, 32, 32, 2, 5), {1, 2});
      CHECK(run_layers<__nv_bfloat16>(without_batch, path, true).result.empty());
      const LayerRun run = run_layers<__nv_bfloat16>(without_time, path, true);
      CHECK(run.result.empty());
      for (const float value : run.dcondition) CHECK(value == 0.0f);
    }
  }

  TEST_CASE("skip sum: in calls of a few layers") {
    const auto check = [](StackPath path) {
      RandomGatedStack stack(gated_sizes(2, 150, 32, 32, 2, 50), {1, 2, 4, 8, 16});
      round_to_storage<__nv_bfloat16>(stack);
      const auto whole = run_layers<__nv_bfloat16>(stack, path, false).result;
      for (const std::int64_t layers : {1, 2}) {
        const auto pieces = run_layers<__nv_bfloat16>(stack, path, false, layers).result;
        double largest = 0.0;
        for (std::size_t i = 0; i < whole.size(); ++i) {
          largest = std::max(largest, static_cast<double>(std::abs(whole[i] - pieces[i])));
        }
        CHECK(largest <= 0.016);  // the sums are of order 2, where bf16 steps are 1/128
      }
    };
    if (gpu_at_hand()) check(StackPath::kGeneral);
    for_tensor_core_paths(check);
  }

  TEST_CASE("stack forward: equal bits whatever the order of threads and copies") {
    for_tensor_core_paths([](StackPath path) {
      RandomGatedStack gated(gated_sizes(2, 150, 64, 64, 2, 50), {1, 70});
      RandomGluStack glu(glu_sizes(true, 1, 150, 64, 3), {1, 70});
      const auto gated_first = run_layers<__nv_bfloat16>(gated, path, false).result;
      const auto glu_first = run_layers<__nv_bfloat16>(glu, path, false).result;
      on_every_schedule([&] {
        with_multiprocessors(1, [&] {
          CHECK(run_layers<__nv_bfloat16>(gated, path, false).result == gated_first);
          CHECK(run_layers<__nv_bfloat16>(glu, path, false).result == glu_first);
        });
      });
    });
  }

  TEST_CASE("gated stack forward: causal, and a sequence depends on no other") {
    for_tensor_core_paths([](StackPath path) {
      RandomGatedStack stack(gated_sizes(2, 200, 32, 32, 2, 50), {1, 2, 4});
      const auto before = run_layers<__nv_bfloat16>(stack, path, false).result;
      for (std::int64_t i = (200 + 140) * 32; i < stack.x.size(); ++i) stack.x.single[i] = 3.0f;
      const auto after = run_layers<__nv_bfloat16>(stack, path, false).result;
      const std::int64_t same = (200 + 140) * 32;
      CHECK(std::equal(before.begin(), before.begin() + same, after.begin()));
      CHECK(!std::equal(before.begin() + same, before.end(), after.begin() + same));
    });
  }
}

}  // namespace musicstar::tests
