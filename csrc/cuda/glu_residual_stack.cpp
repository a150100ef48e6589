// The encoders' residual layers (stacks.h) on the GPU, whole: memory and order of the kernels of stack_layers.h and
// weight_gradients.h. Nothing is allocated and nothing waited for here.
//
// Memory, with X = B T C elements (65.5 MB in bf16 for 16 seconds of 16 kHz at 128 channels):
//   saved       (L - 1) X        x_1 .. x_{L-1}; a and p are computed again. Autograd: x, a, both halves of p, 4 L X.
//   forward     X / 2 + weights  the tails of x (bf16 only: stack_tails.cuh), packed weights
//   backward    6.5 X + weights  du, dp (2 X; none where not gated), a, dx_{l+1}, dx_l, the tails of dx; packed
//                                weights, partial sums
//   inference   1.5 X + weights  every other x, tails; the rest goes where the result will be
// 56 layers of the paper's step (B = 16, T = 16000, bf16): saved 3.6 GB against 14.7 GB, backward 0.44 GB.
//
// Accuracy in bf16: sums are float; the streams x and dx have 16 bits between layers, products 8. 56 layers of 32 and
// 64 channels with weights of nn.Conv1d's default size, on the emulated GPU, in the norm against double precision of
// the rounded weights and input: result 0.2 %, gradients 0.3 to 0.4 % along the forward's own sides of the ReLUs. Where
// units near zero may fall to either side, gradients of random sequences are elsewhere by 2 to 5 %, as they are in
// double precision when nothing but the weights is rounded to bf16 (docs/precision.md). The backward finds the
// forward's sides to the bit: it sums the taps in the same order.
#include <algorithm>

#include "cuda/buffers.h"
#include "cuda/stack_layers.h"
#include "cuda/stacks.h"
#include "cuda/weight_gradients.h"

namespace musicstar::cuda {

namespace {

using Sizes = GluResidualStackSizes;

std::int64_t x_elements(const Sizes& sizes) { return sizes.batch * sizes.time * sizes.channels; }

template <class T>
std::int64_t saved_bytes(const Sizes& sizes) {
  Carver carve(nullptr);
  carve.take<T>(std::max<std::int64_t>(sizes.layers - 1, 0) * x_elements(sizes));
  return carve.used();
}

template <class T>
struct Forward {
  void* packed = nullptr;
  void* tails = nullptr;
  void* layer = nullptr;  // what a layer's kernels need
  T* x = nullptr;
  std::int64_t bytes = 0;

  Forward(const Sizes& sizes, Element element, StackPath path, bool saves, void* block) {
    Carver carve(block);
    packed = carve.bytes(packed_bytes(sizes, element));
    tails = carve.bytes_if_any(tail_bytes(sizes, element));
    layer = carve.bytes(glu_forward_scratch_bytes(sizes, element, path));
    if (!saves && sizes.layers > 1) x = carve.take<T>(x_elements(sizes));
    bytes = carve.used();
  }
};

// The weight gradients of one layer: of the dilated convolution from du and x, of the 1x1 from dp and a.
WeightGradients weight_gradients(const Sizes& sizes, Element element, std::int64_t layer, const void* x, const void* a,
                                 const void* du, const void* dp, const GluResidualStackGradients& wanted) {
  const std::int64_t channels = sizes.channels, outputs = sizes.pointwise_channels(), taps = sizes.kernel_size;
  const auto of_layer = [&](float* all, std::int64_t each) { return all == nullptr ? nullptr : all + layer * each; };
  WeightGradients work;
  work.element = element;
  work.batch = sizes.batch;
  work.time = sizes.time;
  if (wanted.dilated != nullptr || wanted.dilated_bias != nullptr) {
    WeightGradient& dilated = work.products[work.count++];
    dilated.sources[0] = {du, channels, of_layer(wanted.dilated, channels * channels * taps),
                          of_layer(wanted.dilated_bias, channels)};
    dilated.input = x;
    dilated.input_channels = channels;
    dilated.taps = static_cast<int>(taps);
    dilated.step = sizes.dilations[layer];
    dilated.first_shift = -sizes.offset(layer, 0);
  }
  if (wanted.pointwise != nullptr || wanted.pointwise_bias != nullptr) {
    WeightGradient& pointwise = work.products[work.count++];
    pointwise.sources[0] = {dp, outputs, of_layer(wanted.pointwise, outputs * channels),
                            of_layer(wanted.pointwise_bias, outputs)};
    pointwise.input = a;
    pointwise.input_channels = channels;
  }
  return work;
}

// The largest scratch that a layer's weight gradients may take, whichever are wanted.
std::int64_t weight_gradient_bytes(const Sizes& sizes, Element element, StackPath path, int multiprocessors) {
  if (sizes.layers == 0) return 0;
  std::int64_t bytes = 0;
  float number = 0.0f;
  const void* some = &number;
  for (const bool with_dilated : {false, true}) {
    for (const bool with_pointwise : {false, true}) {
      GluResidualStackGradients wanted;
      if (with_dilated) wanted.dilated = wanted.dilated_bias = &number;
      if (with_pointwise) wanted.pointwise = wanted.pointwise_bias = &number;
      const WeightGradients work = weight_gradients(sizes, element, 0, some, some, some, some, wanted);
      if (work.count > 0) bytes = std::max(bytes, plan_weight_gradients(work, path, multiprocessors).scratch_bytes);
    }
  }
  return bytes;
}

template <class T>
struct Backward {
  void* packed = nullptr;
  void* tails = nullptr;  // of dx
  T* du = nullptr;        // [B][T][C]
  T* dp = nullptr;        // [B][T][2C], or null where not gated
  T* a = nullptr;         // [B][T][C]
  T* dx[2] = {};          // [B][T][C]
  void* partial = nullptr;
  std::int64_t bytes = 0;

  Backward(const Sizes& sizes, Element element, StackPath path, int multiprocessors, void* block) {
    Carver carve(block);
    packed = carve.bytes(packed_bytes(sizes, element));
    tails = carve.bytes_if_any(tail_bytes(sizes, element));
    du = carve.take<T>(x_elements(sizes));
    if (sizes.gated) dp = carve.take<T>(2 * x_elements(sizes));
    a = carve.take<T>(x_elements(sizes));
    dx[0] = carve.take<T>(x_elements(sizes));
    dx[1] = carve.take<T>(x_elements(sizes));
    partial = carve.bytes(weight_gradient_bytes(sizes, element, path, multiprocessors));
    bytes = carve.used();
  }
};

template <class T>
void copy(T* to, const T* from, std::int64_t elements, cudaStream_t stream) {
  if (elements == 0) return;
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(elements) * sizeof(T), cudaMemcpyDeviceToDevice, stream),
        "copying on the GPU");
}

template <class T>
void forward(const Sizes& sizes, Element element, StackPath path, const GluResidualStackInputs& inputs, T* result,
             T* saved, void* scratch, cudaStream_t stream) {
  const std::int64_t each = x_elements(sizes);
  const T* x = static_cast<const T*>(inputs.x);
  if (sizes.layers == 0) {
    copy(result, x, each, stream);
    return;
  }
  const Forward<T> memory(sizes, element, path, saved != nullptr, scratch);
  launch_pack<T>(sizes, inputs, memory.packed, stream);
  for (std::int64_t layer = 0; layer < sizes.layers; ++layer) {
    const std::int64_t left = sizes.layers - 1 - layer;
    T* x_next = result;
    if (left > 0 && saved != nullptr) x_next = saved + layer * each;
    if (left % 2 == 1 && saved == nullptr) x_next = memory.x;
    launch_glu_forward<T>(sizes, path, memory.packed, layer, x, x_next, memory.tails, memory.layer, stream);
    x = x_next;
  }
}

template <class T>
void backward(const Sizes& sizes, Element element, StackPath path, const GluResidualStackInputs& inputs,
              const T* result_gradient, const GluResidualStackGradients& gradients, const T* saved, void* scratch,
              cudaStream_t stream) {
  const std::int64_t each = x_elements(sizes);
  if (sizes.layers == 0) {
    if (gradients.x != nullptr) copy(static_cast<T*>(gradients.x), result_gradient, each, stream);
    return;
  }
  const int multiprocessors = current_device().multiprocessors;
  const Backward<T> memory(sizes, element, path, multiprocessors, scratch);
  launch_pack<T>(sizes, inputs, memory.packed, stream);
  const T* dx_next = result_gradient;
  for (std::int64_t layer = sizes.layers - 1; layer >= 0; --layer) {
    const T* x = layer == 0 ? static_cast<const T*>(inputs.x) : saved + (layer - 1) * each;
    launch_glu_pointwise_backward<T>(sizes, path, memory.packed, layer, x, dx_next, memory.du, memory.dp, memory.a,
                                     stream);
    const T* dp = sizes.gated ? memory.dp : dx_next;
    const WeightGradients work = weight_gradients(sizes, element, layer, x, memory.a, memory.du, dp, gradients);
    if (work.count > 0) {
      launch_weight_gradients(work, plan_weight_gradients(work, path, multiprocessors), memory.partial, stream);
    }
    if (layer > 0 || gradients.x != nullptr) {
      T* dx = layer == 0 ? static_cast<T*>(gradients.x) : memory.dx[layer % 2];
      launch_glu_input_backward<T>(sizes, path, memory.packed, layer, memory.du, dx_next, dx, memory.tails, stream);
      dx_next = dx;
    }
  }
}

}  // namespace

StackMemory glu_residual_stack_memory(const Sizes& sizes, Element element, StackPath asked) {
  const StackPath path = resolve_path(sizes, element, asked);
  const int multiprocessors = current_device().multiprocessors;
  StackMemory memory;
  with_element(element, [&](auto value) {
    using T = decltype(value);
    memory.saved = saved_bytes<T>(sizes);
    memory.inference = Forward<T>(sizes, element, path, false, nullptr).bytes;
    memory.forward = Forward<T>(sizes, element, path, true, nullptr).bytes;
    memory.backward = Backward<T>(sizes, element, path, multiprocessors, nullptr).bytes;
  });
  return memory;
}

void glu_residual_stack_forward(const Sizes& sizes, Element element, const GluResidualStackInputs& inputs, void* result,
                                void* saved, void* scratch, void* stream, StackPath asked) {
  const StackPath path = resolve_path(sizes, element, asked);
  with_element(element, [&](auto value) {
    using T = decltype(value);
    forward<T>(sizes, element, path, inputs, static_cast<T*>(result), static_cast<T*>(saved), scratch,
               static_cast<cudaStream_t>(stream));
  });
}

void glu_residual_stack_backward(const Sizes& sizes, Element element, const GluResidualStackInputs& inputs,
                                 const void* result_gradient, const GluResidualStackGradients& gradients,
                                 const void* saved, void* scratch, void* stream, StackPath asked) {
  const StackPath path = resolve_path(sizes, element, asked);
  with_element(element, [&](auto value) {
    using T = decltype(value);
    backward<T>(sizes, element, path, inputs, static_cast<const T*>(result_gradient), gradients,
                static_cast<const T*>(saved), scratch, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace musicstar::cuda
