// The residual stacks: the reference's gradients against its own finite differences, and the CPU's against the
// reference.
#include <cstring>

#include "cpu/stack_dilated.h"
#include "engine_runs.h"
#include "random_stacks.h"

namespace musicstar::tests {

namespace {

// Of a result or gradient, relative to its largest element.
constexpr double kStackTolerance = 2e-5;

struct Buffer {  // aligned as a stack's memory must be, and full of NaN: what is read must have been written
  explicit Buffer(std::int64_t bytes) : floats(static_cast<std::size_t>(bytes / 4 + 16), std::nanf("")) {}
  void* data() {
    const std::size_t address = reinterpret_cast<std::size_t>(floats.data());
    return floats.data() + ((64 - address % 64) % 64) / 4;
  }
  std::vector<float> floats;
};

Outcome<float> cpu_outcome(const RandomGatedStack& stack, int threads, cpu::Isa isa) {
  Outcome<float> outcome = outcome_of<float>(stack);
  for (auto& part : outcome) std::fill(part.begin(), part.end(), std::nanf(""));
  const StackMemory memory = cpu::gated_residual_stack_memory(stack.sizes, threads, isa);
  Buffer saved(memory.saved), forward(memory.forward), backward(memory.backward);
  cpu::gated_residual_stack_forward(stack.sizes, stack.single(), outcome[0].data(), saved.data(), forward.data(),
                                    threads, isa);
  cpu::gated_residual_stack_backward(stack.sizes, stack.single(), stack.result_gradient.single.data(),
                                     gradients_of(stack, outcome), saved.data(), backward.data(), threads, isa);
  return outcome;
}

Outcome<float> cpu_outcome(const RandomGluStack& stack, int threads, cpu::Isa isa) {
  Outcome<float> outcome = outcome_of<float>(stack);
  for (auto& part : outcome) std::fill(part.begin(), part.end(), std::nanf(""));
  const StackMemory memory = cpu::glu_residual_stack_memory(stack.sizes, threads, isa);
  Buffer saved(memory.saved), forward(memory.forward), backward(memory.backward);
  cpu::glu_residual_stack_forward(stack.sizes, stack.single(), outcome[0].data(), saved.data(), forward.data(), threads,
                                  isa);
  cpu::glu_residual_stack_backward(stack.sizes, stack.single(), stack.result_gradient.single.data(),
                                   gradients_of(stack, outcome), saved.data(), backward.data(), threads, isa);
  return outcome;
}

std::vector<float> cpu_inference(const RandomGatedStack& stack, int threads, cpu::Isa isa) {
  std::vector<float> result(static_cast<std::size_t>(stack.result_size()), std::nanf(""));
  Buffer scratch(cpu::gated_residual_stack_memory(stack.sizes, threads, isa).inference);
  cpu::gated_residual_stack_forward(stack.sizes, stack.single(), result.data(), nullptr, scratch.data(), threads, isa);
  return result;
}

std::vector<float> cpu_inference(const RandomGluStack& stack, int threads, cpu::Isa isa) {
  std::vector<float> result(static_cast<std::size_t>(stack.result_size()), std::nanf(""));
  Buffer scratch(cpu::glu_residual_stack_memory(stack.sizes, threads, isa).inference);
  cpu::glu_residual_stack_forward(stack.sizes, stack.single(), result.data(), nullptr, scratch.data(), threads, isa);
  return result;
}

template <class Stack>
void check_against_the_reference(const Stack& stack, int threads) {
  const Outcome<double> expected = reference_outcome(stack);
  on_every_isa([&](cpu::Isa isa) {
    const Outcome<float> found = cpu_outcome(stack, threads, isa);
    for (std::size_t part = 0; part < expected.size(); ++part) {
      CAPTURE(part);
      CHECK(relative_difference(found[part], expected[part]) < kStackTolerance);
    }
    CHECK((cpu_inference(stack, threads, isa) == found[0]));
  });
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class Stack>
void check_threads_change_no_bit(const Stack& stack) {
  on_every_isa([&](cpu::Isa isa) {
    const Outcome<float> one = cpu_outcome(stack, 1, isa);
    for (const int threads : {2, 3, 7}) {
      CAPTURE(threads);
      const Outcome<float> several = cpu_outcome(stack, threads, isa);
      for (std::size_t part = 0; part < one.size(); ++part) CHECK(same_bits(several[part], one[part]));
    }
  });
}

GatedResidualStackSizes gated_sizes(std::int64_t batch, std::int64_t time, std::int64_t residual, std::int64_t skip,
                                    std::int64_t kernel_size = 2, std::int64_t pool = 37) {
  GatedResidualStackSizes sizes;
  sizes.batch = batch;
  sizes.time = time;
  sizes.residual = residual;
  sizes.skip = skip;
  sizes.kernel_size = kernel_size;
  sizes.pool = pool;
  return sizes;
}

GluResidualStackSizes glu_sizes(bool gated, std::int64_t batch, std::int64_t time, std::int64_t channels,
                                std::int64_t kernel_size = 3) {
  GluResidualStackSizes sizes;
  sizes.gated = gated;
  sizes.batch = batch;
  sizes.time = time;
  sizes.channels = channels;
  sizes.kernel_size = kernel_size;
  return sizes;
}

// d(result . result_gradient) by central differences, for a few elements of every input; `with` makes a view of them.
template <class Stack, class Rebuilt>
void check_finite_differences(const Stack& stack, const std::vector<const Tensor*>& tensors, const Rebuilt& with) {
  const Outcome<double> outcome = reference_outcome(stack);
  const auto loss = [&](const std::vector<std::vector<double>>& values) {
    std::vector<double> result(static_cast<std::size_t>(stack.result_size()));
    reference_forward(stack, with(values), result.data());
    double sum = 0.0;
    for (std::size_t i = 0; i < result.size(); ++i) sum += result[i] * stack.result_gradient.exact[i];
    return sum;
  };
  std::vector<std::vector<double>> values;
  for (const Tensor* tensor : tensors) values.push_back(tensor->exact);
  for (std::size_t part = 0; part < values.size(); ++part) {
    CAPTURE(part);
    for (std::size_t i = 0; i < values[part].size(); i += 1 + values[part].size() / 23) {
      CAPTURE(i);
      const double step = 1e-6, before = values[part][i];
      values[part][i] = before + step;
      const double above = loss(values);
      values[part][i] = before - step;
      const double below = loss(values);
      values[part][i] = before;
      CHECK(std::abs((above - below) / (2.0 * step) - outcome[part + 1][i]) < 1e-6);
    }
  }
}

}  // namespace

TEST_CASE("stacks: the reference's gradients are those of its forward") {
  const RandomGatedStack stack(gated_sizes(2, 11, 3, 4, 3, 4), {1, 2, 20});
  check_finite_differences(
      stack, {&stack.x, &stack.condition, &stack.dilated, &stack.residual, &stack.residual_bias, &stack.skip},
      [](const std::vector<std::vector<double>>& v) {
        return GatedResidualStackInputs<double>{v[0].data(), v[1].data(), v[2].data(),
                                                v[3].data(), v[4].data(), v[5].data()};
      });
  for (const bool gated : {false, true}) {
    CAPTURE(gated);
    const RandomGluStack glu(glu_sizes(gated, 2, 11, 3), {1, 2, 20});
    check_finite_differences(glu, {&glu.x, &glu.dilated, &glu.dilated_bias, &glu.pointwise, &glu.pointwise_bias},
                             [](const std::vector<std::vector<double>>& v) {
                               return GluResidualStackInputs<double>{v[0].data(), v[1].data(), v[2].data(), v[3].data(),
                                                                     v[4].data()};
                             });
  }
}

TEST_CASE("gated_residual_stack: equals the reference") {
  for (const std::int64_t kernel_size : {1, 2, 3, 4}) {
    CAPTURE(kernel_size);
    check_against_the_reference(RandomGatedStack(gated_sizes(2, 211, 21, 35, kernel_size), {1, 2, 4, 64, 1}), 2);
  }
}

TEST_CASE("glu_residual_stack: equals the reference") {
  for (const bool gated : {false, true}) {
    for (const std::int64_t kernel_size : {1, 2, 3, 5}) {
      CAPTURE(gated);
      CAPTURE(kernel_size);
      check_against_the_reference(RandomGluStack(glu_sizes(gated, 2, 211, 21, kernel_size), {1, 2, 4, 64, 1}), 2);
    }
  }
}

TEST_CASE("stacks: awkward widths") {
  for (const std::int64_t channels : {1, 3, 8, 15, 16, 17, 24, 31, 32, 33, 65}) {
    CAPTURE(channels);
    check_against_the_reference(RandomGatedStack(gated_sizes(1, 100, channels, channels / 2 + 1), {1, 2}), 3);
    check_against_the_reference(RandomGluStack(glu_sizes(true, 1, 100, channels), {1, 2}), 3);
    check_against_the_reference(RandomGluStack(glu_sizes(false, 1, 100, channels), {1, 2}), 3);
  }
}

TEST_CASE("stacks: awkward lengths, and dilations beyond them") {
  for (const std::int64_t time : {1, 2, 5, 6, 7, 95, 96, 97, 127, 128, 129, 193}) {
    CAPTURE(time);
    check_against_the_reference(RandomGatedStack(gated_sizes(1, time, 5, 7), {1, 50, 300}), 2);
    check_against_the_reference(RandomGluStack(glu_sizes(true, 1, time, 5), {1, 50, 300}), 2);
    check_against_the_reference(RandomGluStack(glu_sizes(false, 3, time, 5), {300, 1}), 2);
  }
}

TEST_CASE("gated_residual_stack: frames of any length, and frames that no sample uses") {
  for (const std::int64_t pool : {1, 3, 96, 128, 130, 1000}) {
    CAPTURE(pool);
    check_against_the_reference(RandomGatedStack(gated_sizes(2, 301, 9, 8, 2, pool), {1, 8}), 2);
  }
  GatedResidualStackSizes sizes = gated_sizes(2, 30, 4, 4, 2, 10);
  RandomGatedStack stack(sizes, {1, 2});
  stack.sizes.frames = 5;
  stack.condition = Tensor(2 * 2 * 5 * 8, 2, 0.5);
  check_against_the_reference(stack, 2);
}

TEST_CASE("stacks: every row is in one group, and groups rise") {
  for (const bool paired : {false, true}) {
    for (const std::int64_t step : {1, 2, 3, 7, 96, 300}) {
      for (const std::int64_t time : {1, 2, 3, 6, 7, 97, 211, 600}) {
        CAPTURE(paired);
        CAPTURE(step);
        CAPTURE(time);
        const cpu::Spans spans{1, {time, step, paired}};
        std::vector<int> seen(static_cast<std::size_t>(time), 0);
        std::int64_t before = 0;
        cpu::SpanRows rows;
        spans.for_each({0, spans.count()}, rows, [&](const cpu::SpanRows&) {
          CHECK(rows.first == before);
          before += rows.count();
          for (std::int64_t i = 0; i < rows.count(); ++i) ++seen[static_cast<std::size_t>(rows.places[i])];
          for (std::int64_t g = 0; g < rows.counts[0]; ++g) {
            const std::int64_t group = rows.span.begin + g;
            CHECK(rows.places[g] == spans.groups.row(group));
            CHECK(spans.groups.before(rows.places[g]) == group);
            if (g < rows.counts[1]) CHECK(rows.places[rows.counts[0] + g] == rows.places[g] + step);
          }
        });
        CHECK((seen == std::vector<int>(static_cast<std::size_t>(time), 1)));
      }
    }
  }
}

TEST_CASE("stacks: pairs of rows equal the reference") {
  constexpr std::int64_t kChannels = cpu::kLeastPairedChannels;
  for (const std::int64_t time : {1, 2, 3, 96, 97, 193, 209}) {
    CAPTURE(time);
    for (const std::int64_t kernel_size : {2, 3}) {
      CAPTURE(kernel_size);
      check_against_the_reference(
          RandomGatedStack(gated_sizes(1, time, kChannels + 1, 9, kernel_size, 50), {1, 3, 100, 16, 300}), 2);
      check_against_the_reference(RandomGluStack(glu_sizes(true, 1, time, kChannels, kernel_size), {1, 100, 24, 300}),
                                  2);
    }
  }
  check_against_the_reference(RandomGatedStack(gated_sizes(3, 211, kChannels, 9, 2, 1), {5, 2}), 4);
  check_against_the_reference(RandomGluStack(glu_sizes(false, 3, 211, kChannels + 5), {5, 64}), 4);
}

TEST_CASE("stacks: pairs are taken where they spare products") {
  const auto paired = [](std::int64_t dilation, std::int64_t taps, std::int64_t time, std::int64_t channels) {
    return cpu::Dilated({-(taps / 2) * dilation, dilation, taps, time}, channels).groups.paired;
  };
  for (const std::int64_t taps : {2, 3}) {
    CHECK(paired(1, taps, 1000, 64));
    CHECK(paired(250, taps, 1000, 64));
    CHECK(!paired(999, taps, 1000, 64));  // all taps but one read zeros
    CHECK(!paired(1, taps, 1000, 63));
  }
  CHECK(!paired(1, 1, 1000, 64));
  CHECK(!paired(1, 4, 1000, 64));
}

TEST_CASE("gated_residual_stack: causal to the bit, whatever comes later") {
  RandomGatedStack stack(gated_sizes(1, 230, cpu::kLeastPairedChannels, 5), {1, 2, 16, 3});
  on_every_isa([&](cpu::Isa isa) {
    const std::vector<float> expected = cpu_inference(stack, 1, isa);
    for (const std::int64_t t : {1, 2, 97, 130, 229}) {
      CAPTURE(t);
      const std::vector<float> before = stack.x.single;
      std::fill(stack.x.single.begin() + t * stack.sizes.residual, stack.x.single.end(), std::nanf(""));
      std::vector<float> found = cpu_inference(stack, 1, isa);
      stack.x.single = before;
      found.resize(static_cast<std::size_t>(t * stack.sizes.skip));
      CHECK(same_bits(found, {expected.begin(), expected.begin() + t * stack.sizes.skip}));
    }
  });
}

TEST_CASE("stacks: threads change no bit") {
  check_threads_change_no_bit(RandomGatedStack(gated_sizes(3, 401, 21, 35), {1, 2, 4, 8, 200}));
  check_threads_change_no_bit(RandomGluStack(glu_sizes(true, 3, 401, 21), {1, 2, 4, 8, 200}));
  check_threads_change_no_bit(RandomGluStack(glu_sizes(false, 3, 401, 21), {1, 2, 4, 8, 200}));
  constexpr std::int64_t kPaired = cpu::kLeastPairedChannels;
  check_threads_change_no_bit(RandomGatedStack(gated_sizes(2, 801, kPaired, 9), {1, 4, 200, 700}));
  check_threads_change_no_bit(RandomGluStack(glu_sizes(true, 2, 801, kPaired), {4, 1, 700, 200}));
}

TEST_CASE("stacks: nothing to do gives zero gradients") {
  for (const std::int64_t batch : {0, 2}) {
    CAPTURE(batch);
    const std::int64_t time = batch == 0 ? 7 : 0;
    check_against_the_reference(RandomGatedStack(gated_sizes(batch, time, 5, 3), {1, 2}), 2);
    check_against_the_reference(RandomGluStack(glu_sizes(true, batch, time, 5), {1, 2}), 2);
  }
}

TEST_CASE("stacks: a gradient that is not asked for changes no other") {
  const RandomGatedStack gated(gated_sizes(2, 150, 10, 12), {1, 4, 16});
  const RandomGluStack glu(glu_sizes(true, 2, 150, 10), {1, 4, 16});
  on_every_isa([&](cpu::Isa isa) {
    const Outcome<float> all = cpu_outcome(gated, 2, isa);
    const StackMemory memory = cpu::gated_residual_stack_memory(gated.sizes, 2, isa);
    Buffer saved(memory.saved), forward(memory.forward), backward(memory.backward);
    std::vector<float> result = all[0];
    cpu::gated_residual_stack_forward(gated.sizes, gated.single(), result.data(), saved.data(), forward.data(), 2, isa);
    for (std::size_t wanted = 1; wanted < all.size(); ++wanted) {
      CAPTURE(wanted);
      std::vector<float> gradient(all[wanted].size(), std::nanf(""));
      float* to[7] = {};
      to[wanted] = gradient.data();
      cpu::gated_residual_stack_backward(gated.sizes, gated.single(), gated.result_gradient.single.data(),
                                         {to[1], to[2], to[3], to[4], to[5], to[6]}, saved.data(), backward.data(), 2,
                                         isa);
      CHECK(same_bits(gradient, all[wanted]));
    }
    const Outcome<float> glu_all = cpu_outcome(glu, 2, isa);
    const StackMemory glu_memory = cpu::glu_residual_stack_memory(glu.sizes, 2, isa);
    Buffer glu_saved(glu_memory.saved), glu_forward(glu_memory.forward), glu_backward(glu_memory.backward);
    result = glu_all[0];
    cpu::glu_residual_stack_forward(glu.sizes, glu.single(), result.data(), glu_saved.data(), glu_forward.data(), 2,
                                    isa);
    for (std::size_t wanted = 1; wanted < glu_all.size(); ++wanted) {
      CAPTURE(wanted);
      std::vector<float> gradient(glu_all[wanted].size(), std::nanf(""));
      float* to[6] = {};
      to[wanted] = gradient.data();
      cpu::glu_residual_stack_backward(glu.sizes, glu.single(), glu.result_gradient.single.data(),
                                       {to[1], to[2], to[3], to[4], to[5]}, glu_saved.data(), glu_backward.data(), 2,
                                       isa);
      CHECK(same_bits(gradient, glu_all[wanted]));
    }
  });
}

TEST_CASE("gated_residual_stack: saturated gates stay finite") {
  RandomGatedStack stack(gated_sizes(1, 40, 8, 8), {1, 2});
  for (std::size_t i = 0; i < stack.condition.single.size(); ++i) {
    stack.condition.single[i] *= 200.0f;
    stack.condition.exact[i] = stack.condition.single[i];
  }
  check_against_the_reference(stack, 1);
}

}  // namespace musicstar::tests
