// The decoder's residual layers (stacks.h) on the GPU, whole: memory and order of the kernels of stack_layers.h and
// weight_gradients.h. Nothing is allocated and nothing waited for here.
//
// Memory, with X = B T R elements (65.5 MB in bf16 for 16 seconds of 16 kHz at 128 channels) and R = S:
//   saved       (2 L - 1) X      x_1 .. x_{L-1}, z_0 .. z_{L-1}; h is computed again. Autograd: x, sigmoid, tanh, z
//   forward     X / 2 + weights  the tails of x (bf16 only: stack_tails.cuh), packed weights
//   backward    4.5 X + weights  dh (2 X), dx_{l+1}, dx_l, the tails of dx; packed weights, partial sums of the weight
//                                gradients
//   inference   8.5 X + weights  two x and tails, four z (layers share a pass over the skip sum), the running sum in
//                                float
// 40 layers of the paper's step (B = 16, T = 16000, bf16): saved 5.2 GB against autograd's 4 L X = 10.5 GB, backward
// 0.31 GB.
//
// Accuracy in bf16: sums are float; the streams x and dx have 16 bits between layers, products and the skip sum's z 8.
// 40 layers of 32 and 64 channels with weights of nn.Conv1d's default size, on the emulated GPU, in the norm against
// double precision of the rounded weights and input: result 0.3 %, gradients 0.2 to 0.4 %. docs/precision.md compares
// with torch's autocast.
//
// The weight gradients of a layer could run beside the data backward of the layer before it. They do not: both are
// bound by memory or the tensor cores and fill the GPU, so only the ends of waves would overlap, and it would take a
// second dh and a third dx.
#include <algorithm>

#include "cuda/buffers.h"
#include "cuda/stack_layers.h"
#include "cuda/stacks.h"
#include "cuda/weight_gradients.h"

namespace musicstar::cuda {

namespace {

using Sizes = GatedResidualStackSizes;

constexpr std::int64_t kLayersOfOneSum = 4;  // of an inference: z of so many layers before their skip products

std::int64_t x_elements(const Sizes& sizes) { return sizes.batch * sizes.time * sizes.residual; }
std::int64_t condition_elements(const Sizes& sizes) { return sizes.batch * sizes.frames * 2 * sizes.residual; }

template <class T>
struct Saved {
  T* x = nullptr;  // [L - 1][B][T][R]: x_1 ..
  T* z = nullptr;  // [L][B][T][R]
  std::int64_t bytes = 0;

  Saved(const Sizes& sizes, void* block) {
    Carver carve(block);
    x = carve.take<T>(std::max<std::int64_t>(sizes.layers - 1, 0) * x_elements(sizes));
    z = carve.take<T>(sizes.layers * x_elements(sizes));
    bytes = carve.used();
  }
};

struct Training {
  void* packed = nullptr;
  void* tails = nullptr;
  std::int64_t bytes = 0;

  Training(const Sizes& sizes, Element element, void* block) {
    Carver carve(block);
    packed = carve.bytes(packed_bytes(sizes, element));
    tails = carve.bytes_if_any(tail_bytes(sizes, element));
    bytes = carve.used();
  }
};

template <class T>
struct Inference {
  void* packed = nullptr;
  void* tails = nullptr;
  T* x[2] = {};
  T* z = nullptr;
  float* running = nullptr;
  std::int64_t bytes = 0;

  Inference(const Sizes& sizes, Element element, void* block) {
    Carver carve(block);
    packed = carve.bytes(packed_bytes(sizes, element));
    tails = carve.bytes_if_any(tail_bytes(sizes, element));
    x[0] = carve.take<T>(x_elements(sizes));
    x[1] = carve.take<T>(x_elements(sizes));
    z = carve.take<T>(std::min(sizes.layers, kLayersOfOneSum) * x_elements(sizes));
    if (sizes.layers > kLayersOfOneSum) running = carve.take<float>(sizes.batch * sizes.time * sizes.skip);
    bytes = carve.used();
  }
};

// The weight gradients of one layer: of the dilated convolution from dh and x, of the residual and skip 1x1s from z.
WeightGradients weight_gradients(const Sizes& sizes, Element element, std::int64_t layer, const void* x, const void* z,
                                 const void* dh, const void* dx_next, const void* dsum,
                                 const GatedResidualStackGradients& wanted) {
  const std::int64_t residual = sizes.residual, skip = sizes.skip, taps = sizes.kernel_size;
  const auto of_layer = [&](float* all, std::int64_t each) { return all == nullptr ? nullptr : all + layer * each; };
  WeightGradients work;
  work.element = element;
  work.batch = sizes.batch;
  work.time = sizes.time;
  if (wanted.dilated != nullptr) {
    WeightGradient& dilated = work.products[work.count++];
    dilated.sources[0] = {dh, 2 * residual, of_layer(wanted.dilated, 2 * residual * residual * taps), nullptr};
    dilated.input = x;
    dilated.input_channels = residual;
    dilated.taps = static_cast<int>(taps);
    dilated.step = sizes.dilations[layer];
    dilated.first_shift = sizes.delay(layer, 0);
  }
  int sources = 0;
  WeightGradient pointwise;
  pointwise.input = z;
  pointwise.input_channels = residual;
  if (dx_next != nullptr && (wanted.residual != nullptr || wanted.residual_bias != nullptr)) {
    pointwise.sources[sources++] = {dx_next, residual, of_layer(wanted.residual, residual * residual),
                                    of_layer(wanted.residual_bias, residual)};
  }
  if (wanted.skip != nullptr) {
    pointwise.sources[sources++] = {dsum, skip, of_layer(wanted.skip, skip * residual), nullptr};
  }
  if (sources > 0) work.products[work.count++] = pointwise;
  return work;
}

// The largest scratch that any layer's weight gradients may take, whichever are wanted.
std::int64_t weight_gradient_bytes(const Sizes& sizes, Element element, StackPath path, int multiprocessors) {
  if (sizes.layers == 0) return 0;
  std::int64_t bytes = 0;
  float number = 0.0f;
  const void* some = &number;
  for (const bool with_dilated : {false, true}) {
    for (const bool with_residual : {false, true}) {
      for (const bool with_skip : {false, true}) {
        GatedResidualStackGradients wanted;
        if (with_dilated) wanted.dilated = &number;
        if (with_residual) wanted.residual = wanted.residual_bias = &number;
        if (with_skip) wanted.skip = &number;
        const WeightGradients work = weight_gradients(sizes, element, 0, some, some, some, some, some, wanted);
        if (work.count > 0) {
          bytes = std::max(bytes, plan_weight_gradients(work, path, multiprocessors).scratch_bytes);
        }
      }
    }
  }
  return bytes;
}

template <class T>
struct Backward {
  void* packed = nullptr;
  void* tails = nullptr;  // of dx
  T* dh = nullptr;        // [B][T][2R]
  T* dx[2] = {};          // [B][T][R]
  void* gate = nullptr;   // partial sums of the condition's gradient
  void* partial = nullptr;
  std::int64_t bytes = 0;

  Backward(const Sizes& sizes, Element element, StackPath path, int multiprocessors, void* block) {
    Carver carve(block);
    packed = carve.bytes(packed_bytes(sizes, element));
    tails = carve.bytes_if_any(tail_bytes(sizes, element));
    dh = carve.take<T>(2 * x_elements(sizes));
    dx[0] = carve.take<T>(x_elements(sizes));
    dx[1] = carve.take<T>(x_elements(sizes));
    gate = carve.bytes(gate_backward_scratch_bytes(sizes, path));
    partial = carve.bytes(weight_gradient_bytes(sizes, element, path, multiprocessors));
    bytes = carve.used();
  }
};

template <class T>
void forward(const Sizes& sizes, Element element, StackPath path, const GatedResidualStackInputs& inputs, T* result,
             void* saved_block, void* scratch, cudaStream_t stream) {
  if (sizes.layers == 0) {
    fill_zero(result, sizes.batch * sizes.time * sizes.skip * static_cast<std::int64_t>(sizeof(T)), stream);
    return;
  }
  const std::int64_t each = x_elements(sizes);
  const auto condition = [&](std::int64_t layer) { return inputs.condition + layer * condition_elements(sizes); };
  const T* x = static_cast<const T*>(inputs.x);
  if (saved_block != nullptr) {
    const Saved<T> saved(sizes, saved_block);
    const Training memory(sizes, element, scratch);
    launch_pack<T>(sizes, inputs, memory.packed, stream);
    for (std::int64_t layer = 0; layer < sizes.layers; ++layer) {
      T* x_next = layer + 1 < sizes.layers ? saved.x + layer * each : nullptr;
      launch_gated_forward<T>(sizes, path, memory.packed, layer, x, condition(layer), x_next, memory.tails,
                              saved.z + layer * each, stream);
      x = x_next;
    }
    launch_skip_sum<T>(sizes, path, memory.packed, 0, sizes.layers, saved.z, nullptr, result, stream);
    return;
  }
  const Inference<T> memory(sizes, element, scratch);
  launch_pack<T>(sizes, inputs, memory.packed, stream);
  for (std::int64_t first = 0; first < sizes.layers; first += kLayersOfOneSum) {
    const std::int64_t end = std::min(first + kLayersOfOneSum, sizes.layers);
    for (std::int64_t layer = first; layer < end; ++layer) {
      T* x_next = layer + 1 < sizes.layers ? memory.x[layer % 2] : nullptr;
      launch_gated_forward<T>(sizes, path, memory.packed, layer, x, condition(layer), x_next, memory.tails,
                              memory.z + (layer - first) * each, stream);
      x = x_next;
    }
    launch_skip_sum<T>(sizes, path, memory.packed, first, end - first, memory.z, memory.running,
                       end == sizes.layers ? result : nullptr, stream);
  }
}

template <class T>
void backward(const Sizes& sizes, Element element, StackPath path, const GatedResidualStackInputs& inputs,
              const T* dsum, const GatedResidualStackGradients& gradients, const void* saved_block, void* scratch,
              cudaStream_t stream) {
  const std::int64_t each = x_elements(sizes), residual = sizes.residual;
  if (sizes.layers == 0) {
    if (gradients.x != nullptr) fill_zero(gradients.x, each * static_cast<std::int64_t>(sizeof(T)), stream);
    return;
  }
  const int multiprocessors = current_device().multiprocessors;
  const Saved<T> saved(sizes, const_cast<void*>(saved_block));
  const Backward<T> memory(sizes, element, path, multiprocessors, scratch);
  launch_pack<T>(sizes, inputs, memory.packed, stream);

  // Nobody uses what the last layer leaves.
  const std::int64_t last = sizes.layers - 1;
  constexpr std::int64_t kFloat = sizeof(float);
  if (gradients.residual != nullptr) {
    fill_zero(gradients.residual + last * residual * residual, residual * residual * kFloat, stream);
  }
  if (gradients.residual_bias != nullptr) {
    fill_zero(gradients.residual_bias + last * residual, residual * kFloat, stream);
  }

  // Where only the skip weights are wanted, nothing has to go back through the layers.
  const bool needs_dx = gradients.x != nullptr || gradients.condition != nullptr || gradients.dilated != nullptr ||
                        gradients.residual != nullptr || gradients.residual_bias != nullptr;
  const T* dx_next = nullptr;
  for (std::int64_t layer = last; layer >= 0; --layer) {
    const T* x = layer == 0 ? static_cast<const T*>(inputs.x) : saved.x + (layer - 1) * each;
    const T* z = saved.z + layer * each;
    if (needs_dx) {
      const float* condition = inputs.condition + layer * condition_elements(sizes);
      float* dcondition =
          gradients.condition == nullptr ? nullptr : gradients.condition + layer * condition_elements(sizes);
      launch_gated_gate_backward<T>(sizes, path, memory.packed, layer, x, condition, dx_next, dsum, memory.dh,
                                    dcondition, memory.gate, stream);
    }
    const WeightGradients work = weight_gradients(sizes, element, layer, x, z, memory.dh, dx_next, dsum, gradients);
    if (work.count > 0) {
      launch_weight_gradients(work, plan_weight_gradients(work, path, multiprocessors), memory.partial, stream);
    }
    if (needs_dx && (layer > 0 || gradients.x != nullptr)) {
      T* dx = layer == 0 ? static_cast<T*>(gradients.x) : memory.dx[layer % 2];
      launch_gated_input_backward<T>(sizes, path, memory.packed, layer, memory.dh, dx_next, dx, memory.tails, stream);
      dx_next = dx;
    }
  }
}

}  // namespace

StackMemory gated_residual_stack_memory(const Sizes& sizes, Element element, StackPath asked) {
  const StackPath path = resolve_path(sizes, element, asked);
  const int multiprocessors = current_device().multiprocessors;
  StackMemory memory;
  with_element(element, [&](auto value) {
    using T = decltype(value);
    memory.saved = Saved<T>(sizes, nullptr).bytes;
    memory.inference = Inference<T>(sizes, element, nullptr).bytes;
    memory.forward = Training(sizes, element, nullptr).bytes;
    memory.backward = Backward<T>(sizes, element, path, multiprocessors, nullptr).bytes;
  });
  return memory;
}

void gated_residual_stack_forward(const Sizes& sizes, Element element, const GatedResidualStackInputs& inputs,
                                  void* result, void* saved, void* scratch, void* stream, StackPath asked) {
  const StackPath path = resolve_path(sizes, element, asked);
  with_element(element, [&](auto value) {
    using T = decltype(value);
    forward<T>(sizes, element, path, inputs, static_cast<T*>(result), saved, scratch,
               static_cast<cudaStream_t>(stream));
  });
}

void gated_residual_stack_backward(const Sizes& sizes, Element element, const GatedResidualStackInputs& inputs,
                                   const void* result_gradient, const GatedResidualStackGradients& gradients,
                                   const void* saved, void* scratch, void* stream, StackPath asked) {
  const StackPath path = resolve_path(sizes, element, asked);
  with_element(element, [&](auto value) {
    using T = decltype(value);
    backward<T>(sizes, element, path, inputs, static_cast<const T*>(result_gradient), gradients, saved, scratch,
                static_cast<cudaStream_t>(stream));
  });
}

}  // namespace musicstar::cuda
