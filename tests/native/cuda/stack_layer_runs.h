// Residual stacks put together from the kernels of single layers (cuda/stack_layers.h), as simply as it goes: every
// intermediate in poisoned memory of its own.
#pragma once

#include <vector>

#include "../random_stacks.h"
#include "cuda/stack_layers.h"
#include "cuda/usable_device.h"
#include "device_arrays.h"
#include "devices.h"

namespace musicstar::tests {

using cuda::StackPath;

// Calls `check` with each tensor-core path that the device has.
template <class Check>
void for_tensor_core_paths(Check check) {
  if (!gpu_at_hand()) return;
  const cuda::UsableDevice device = cuda::usable_device(0);
  GatedResidualStackSizes sizes;
  sizes.residual = sizes.skip = 32;
  for (const StackPath path : {StackPath::kMma, StackPath::kWgmma}) {
    if (!cuda::supports(sizes, path, device.major * 10 + device.minor)) continue;
    CAPTURE(path);
    check(path);
  }
}

// Calls `work` on an emulated GPU of so many SMs: blocks that stay on their SM then have many tiles each. A real one is
// what it is.
template <class Work>
void with_multiprocessors(int count, Work work) {
#ifdef MUSICSTAR_EMULATED_GPU
  emulated_gpu::set_multiprocessors(count);
  work();
  emulated_gpu::set_multiprocessors(16);
#else
  static_cast<void>(count);
  work();
#endif
}

// What the kernels of a stack give: the result and the data gradients.
struct LayerRun {
  std::vector<float> result, dx;
  std::vector<float> dcondition;  // gated: [L][B][F][2R]
  std::vector<float> a;           // GLU: [L][B][T][C], as the backward computed it again
};

// What T stores becomes what the reference sees: sequences and the weights of products, but no biases or conditions.
template <class T>
void round_to_storage(Tensor& tensor) {
  tensor.single = rounded_to<T>(tensor.single);
  tensor.exact.assign(tensor.single.begin(), tensor.single.end());
}
template <class T>
void round_to_storage(RandomGatedStack& stack) {
  for (Tensor* tensor : {&stack.x, &stack.dilated, &stack.residual, &stack.skip, &stack.result_gradient}) {
    round_to_storage<T>(*tensor);
  }
}
template <class T>
void round_to_storage(RandomGluStack& stack) {
  for (Tensor* tensor : {&stack.x, &stack.dilated, &stack.pointwise, &stack.result_gradient}) {
    round_to_storage<T>(*tensor);
  }
}

template <class T>
constexpr cuda::Element element_of() {
  return sizeof(T) == 4 ? cuda::Element::kFloat32 : cuda::Element::kBfloat16;
}

// `layers_at_once`: how many layers a call of launch_skip_sum takes.
template <class T>
LayerRun run_layers(const RandomGatedStack& stack, StackPath path, bool backward, std::int64_t layers_at_once = 1000) {
  const GatedResidualStackSizes& sizes = stack.sizes;
  const std::int64_t L = sizes.layers, R = sizes.residual, S = sizes.skip, rows = sizes.batch * sizes.time;
  const std::int64_t frames = sizes.batch * sizes.frames * 2 * R;
  const auto condition = on_device<float>(stack.condition.single), dilated = on_device<float>(stack.dilated.single),
             residual = on_device<float>(stack.residual.single), bias = on_device<float>(stack.residual_bias.single),
             skip = on_device<float>(stack.skip.single);
  cuda::GatedResidualStackInputs inputs;
  inputs.condition = condition.data(), inputs.dilated = dilated.data(), inputs.residual = residual.data();
  inputs.residual_bias = bias.data(), inputs.skip = skip.data();
  const auto packed = poisoned<char>(cuda::packed_bytes(sizes, element_of<T>()));
  cuda::launch_pack<T>(sizes, inputs, packed.data(), nullptr);

  const auto tails = poisoned<char>(cuda::tail_bytes(sizes, element_of<T>()));
  std::vector<cuda::DeviceBuffer<T>> x;
  x.push_back(on_device<T>(stack.x.single));
  const auto z = poisoned<T>(L * rows * R);
  for (std::int64_t l = 0; l < L; ++l) {
    if (l + 1 < L) x.push_back(poisoned<T>(rows * R));
    cuda::launch_gated_forward<T>(sizes, path, packed.data(), l, x[l].data(), condition.data() + l * frames,
                                  l + 1 < L ? x[l + 1].data() : nullptr, tails.data(), z.data() + l * rows * R,
                                  nullptr);
  }
  const auto result = poisoned<T>(rows * S);
  const auto running = poisoned<float>(rows * S);
  for (std::int64_t l = 0; l < L; l += layers_at_once) {
    const bool last = l + layers_at_once >= L;
    cuda::launch_skip_sum<T>(sizes, path, packed.data(), l, last ? L - l : layers_at_once, z.data() + l * rows * R,
                             L > layers_at_once ? running.data() : nullptr, last ? result.data() : nullptr, nullptr);
  }
  LayerRun run;
  run.result = from_device(result);
  if (!backward) return run;

  const auto dsum = on_device<T>(stack.result_gradient.single);
  const auto dcondition = poisoned<float>(L * frames);
  const auto scratch = poisoned<char>(cuda::gate_backward_scratch_bytes(sizes, path));
  cuda::DeviceBuffer<T> dx;
  for (std::int64_t l = L - 1; l >= 0; --l) {
    const T* dx_next = l + 1 < L ? dx.data() : nullptr;
    const auto dh = poisoned<T>(rows * 2 * R);
    auto dx_here = poisoned<T>(rows * R);
    cuda::launch_gated_gate_backward<T>(sizes, path, packed.data(), l, x[l].data(), condition.data() + l * frames,
                                        dx_next, dsum.data(), dh.data(), dcondition.data() + l * frames, scratch.data(),
                                        nullptr);
    cuda::launch_gated_input_backward<T>(sizes, path, packed.data(), l, dh.data(), dx_next, dx_here.data(),
                                         tails.data(), nullptr);
    cuda::check(cudaStreamSynchronize(nullptr), "running a layer backward");
    dx = std::move(dx_here);
  }
  run.dx = from_device(dx);
  run.dcondition = from_device(dcondition);
  return run;
}

template <class T>
LayerRun run_layers(const RandomGluStack& stack, StackPath path, bool backward) {
  const GluResidualStackSizes& sizes = stack.sizes;
  const std::int64_t L = sizes.layers, C = sizes.channels, rows = sizes.batch * sizes.time;
  const auto dilated = on_device<float>(stack.dilated.single),
             dilated_bias = on_device<float>(stack.dilated_bias.single),
             pointwise = on_device<float>(stack.pointwise.single),
             pointwise_bias = on_device<float>(stack.pointwise_bias.single);
  cuda::GluResidualStackInputs inputs;
  inputs.dilated = dilated.data(), inputs.dilated_bias = dilated_bias.data();
  inputs.pointwise = pointwise.data(), inputs.pointwise_bias = pointwise_bias.data();
  const auto packed = poisoned<char>(cuda::packed_bytes(sizes, element_of<T>()));
  cuda::launch_pack<T>(sizes, inputs, packed.data(), nullptr);

  const auto scratch = poisoned<char>(cuda::glu_forward_scratch_bytes(sizes, element_of<T>(), path));
  const auto tails = poisoned<char>(cuda::tail_bytes(sizes, element_of<T>()));
  std::vector<cuda::DeviceBuffer<T>> x;
  x.push_back(on_device<T>(stack.x.single));
  for (std::int64_t l = 0; l < L; ++l) {
    x.push_back(poisoned<T>(rows * C));
    cuda::launch_glu_forward<T>(sizes, path, packed.data(), l, x[l].data(), x[l + 1].data(), tails.data(),
                                scratch.data(), nullptr);
  }
  LayerRun run;
  run.result = from_device(x[L]);
  if (!backward) return run;

  auto dx = on_device<T>(stack.result_gradient.single);
  std::vector<std::vector<float>> a_of(L);
  for (std::int64_t l = L - 1; l >= 0; --l) {
    const auto du = poisoned<T>(rows * C), a = poisoned<T>(rows * C);
    const auto dp = poisoned<T>(sizes.gated ? rows * 2 * C : 0);
    auto dx_here = poisoned<T>(rows * C);
    cuda::launch_glu_pointwise_backward<T>(sizes, path, packed.data(), l, x[l].data(), dx.data(), du.data(), dp.data(),
                                           a.data(), nullptr);
    cuda::launch_glu_input_backward<T>(sizes, path, packed.data(), l, du.data(), dx.data(), dx_here.data(),
                                       tails.data(), nullptr);
    cuda::check(cudaStreamSynchronize(nullptr), "running a layer backward");
    dx = std::move(dx_here);
    a_of[l] = from_device(a);
  }
  for (const auto& a : a_of) run.a.insert(run.a.end(), a.begin(), a.end());
  run.dx = from_device(dx);
  return run;
}

// Weights as large as nn.Conv1d makes them: a third of the variance that the random stacks have, with which little
// errors do not grow from layer to layer.
inline void scale_to_default(RandomGatedStack& stack) {
  for (Tensor* tensor : {&stack.dilated, &stack.residual, &stack.skip}) {
    for (float& value : tensor->single) value *= 0.57735f;
  }
}
inline void scale_to_default(RandomGluStack& stack) {
  for (Tensor* tensor : {&stack.dilated, &stack.pointwise}) {
    for (float& value : tensor->single) value *= 0.57735f;
  }
}

// 1, 2, 4, .. of so many blocks.
inline std::vector<std::int64_t> doubling_dilations(std::int64_t blocks, std::int64_t layers) {
  std::vector<std::int64_t> dilations;
  for (std::int64_t l = 0; l < blocks * layers; ++l) dilations.push_back(std::int64_t{1} << l % layers);
  return dilations;
}

// |found - expected| / |expected|, Euclidean; not a number if anything found is.
inline double norm_difference(const std::vector<float>& found, const double* expected) {
  double difference = 0.0, size = 1e-12;
  for (std::size_t i = 0; i < found.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / size);
}

inline GatedResidualStackSizes gated_sizes(std::int64_t batch, std::int64_t time, std::int64_t channels,
                                           std::int64_t skip, std::int64_t kernel_size, std::int64_t pool) {
  GatedResidualStackSizes sizes;
  sizes.batch = batch, sizes.time = time;
  sizes.residual = channels, sizes.skip = skip;
  sizes.kernel_size = kernel_size, sizes.pool = pool;
  return sizes;
}

inline GluResidualStackSizes glu_sizes(bool gated, std::int64_t batch, std::int64_t time, std::int64_t channels,
                                       std::int64_t kernel_size) {
  GluResidualStackSizes sizes;
  sizes.gated = gated;
  sizes.batch = batch, sizes.time = time;
  sizes.channels = channels, sizes.kernel_size = kernel_size;
  return sizes;
}

}  // namespace musicstar::tests
