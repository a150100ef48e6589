// Which kernels a layer runs on: checks nothing twice, launches nothing for an empty batch.
#include "cuda/stack_layers.h"

#include <type_traits>

#include "cuda/errors.h"
#include "cuda/instructions.cuh"
#include "cuda/stack_paths.h"
#include "cuda/stack_weights.h"

namespace musicstar::cuda {

namespace {

// The table of channel counts, and what keeps positions within a tile's 32-bit arithmetic.
bool tensor_cores_take(std::int64_t channels, std::int64_t taps, std::int64_t time) {
  return (channels == 32 || channels == 64 || channels == 128) && taps >= 1 && taps <= 3 &&
         time <= std::int64_t{1} << 28;
}

bool device_has(StackPath path, int compute_capability) {
  if (path == StackPath::kMma) return compute_capability >= 80;
  if (path == StackPath::kWgmma) return compute_capability == 90;
  return path == StackPath::kGeneral;
}

bool empty(std::int64_t batch, std::int64_t time) { return batch == 0 || time == 0; }

[[noreturn]] void refuse_path() { throw Error("these residual stack kernels do not exist for this element type"); }

}  // namespace

bool supports(const GatedResidualStackSizes& sizes, StackPath path, int compute_capability) {
  if (!device_has(path, compute_capability)) return false;
  return path == StackPath::kGeneral ||
         (sizes.residual == sizes.skip && tensor_cores_take(sizes.residual, sizes.kernel_size, sizes.time));
}

bool supports(const GluResidualStackSizes& sizes, StackPath path, int compute_capability) {
  if (!device_has(path, compute_capability)) return false;
  return path == StackPath::kGeneral || tensor_cores_take(sizes.channels, sizes.kernel_size, sizes.time);
}

namespace {

// One byte a value, for any path: rows in whole tiles of the largest, 128.
std::int64_t tail_bytes_of(Element element, std::int64_t layers, std::int64_t batch, std::int64_t time,
                           std::int64_t channels) {
  if (element == Element::kFloat32 || layers < 2) return 0;
  return batch * ((time + 127) / 128 * 128) * channels;
}

// A forward begins with the first layer and ends with the last, a backward the other way round.
template <class T, class Call>
void set_tails(Call& call, void* tails, bool begins, bool ends) {
  if constexpr (!std::is_same_v<T, float>) {
    call.tails_before = begins ? nullptr : tails;
    call.tails_after = ends ? nullptr : tails;
  }
}

}  // namespace

std::int64_t tail_bytes(const GatedResidualStackSizes& sizes, Element element) {
  return tail_bytes_of(element, sizes.layers, sizes.batch, sizes.time, sizes.residual);
}

std::int64_t tail_bytes(const GluResidualStackSizes& sizes, Element element) {
  return tail_bytes_of(element, sizes.layers, sizes.batch, sizes.time, sizes.channels);
}

// Calls `method` of the path's namespace; float exists in general only.
#define MUSICSTAR_CHOOSE(T, path, method, ...)                          \
  if (path == StackPath::kGeneral) return general::method(__VA_ARGS__); \
  if constexpr (std::is_same_v<T, bf16>) {                              \
    if (path == StackPath::kWgmma) return wgmma::method(__VA_ARGS__);   \
    if (path == StackPath::kMma) return mma::method(__VA_ARGS__);       \
  }                                                                     \
  refuse_path()

template <class T>
void launch_gated_forward(const GatedResidualStackSizes& sizes, StackPath path, const void* packed, std::int64_t layer,
                          const T* x, const float* condition, T* x_next, void* tails, T* z, cudaStream_t stream) {
  if (empty(sizes.batch, sizes.time)) return;
  GatedForwardCall<T> call{layer, x, condition, x_next, z};
  set_tails<T>(call, tails, layer == 0, x_next == nullptr);
  MUSICSTAR_CHOOSE(T, path, forward, sizes, packed, call, stream);
}

template <class T>
void launch_skip_sum(const GatedResidualStackSizes& sizes, StackPath path, const void* packed, std::int64_t first_layer,
                     std::int64_t layers, const T* z, float* running, T* sum, cudaStream_t stream) {
  if (empty(sizes.batch, sizes.time)) return;
  const SkipSumCall<T> call{first_layer, layers, z, running, sum};
  MUSICSTAR_CHOOSE(T, path, skip_sum, sizes, packed, call, stream);
}

std::int64_t gate_backward_scratch_bytes(const GatedResidualStackSizes& sizes, StackPath path) {
  if (path == StackPath::kGeneral || !strips_suffice(sizes)) return 0;
  return sizes.batch * strips_of_sequence(sizes) * 4 * sizes.residual * static_cast<std::int64_t>(sizeof(float));
}

template <class T>
void launch_gated_gate_backward(const GatedResidualStackSizes& sizes, StackPath path, const void* packed,
                                std::int64_t layer, const T* x, const float* condition, const T* dx_next, const T* dsum,
                                T* dh, float* dcondition, void* scratch, cudaStream_t stream) {
  if (sizes.batch == 0) return;
  GateBackwardCall<T> call{layer, x, condition, dx_next, dsum, dh};
  if (dcondition != nullptr && gate_backward_scratch_bytes(sizes, path) > 0) call.strips = static_cast<float*>(scratch);
  const auto gate_backward = [&] { MUSICSTAR_CHOOSE(T, path, gate_backward, sizes, packed, call, stream); };
  if (sizes.time > 0) gate_backward();
  if (call.strips != nullptr) {
    add_strips(sizes, call.strips, dcondition, stream);
  } else if (dcondition != nullptr) {
    sum_frames(sizes, dh, dcondition, stream);
  }
}

namespace {

template <class T>
void input_backward(StackPath path, const InputBackwardCall<T>& call, cudaStream_t stream) {
  if (empty(call.batch, call.time)) return;
  MUSICSTAR_CHOOSE(T, path, input_backward, call, stream);
}

}  // namespace

template <class T>
void launch_gated_input_backward(const GatedResidualStackSizes& sizes, StackPath path, const void* packed,
                                 std::int64_t layer, const T* dh, const T* dx_next, T* dx, void* tails,
                                 cudaStream_t stream) {
  const GatedWeights<T> weights(sizes, packed);
  InputBackwardCall<T> call;
  call.batch = sizes.batch, call.time = sizes.time;
  call.channels = sizes.residual, call.width = 2 * sizes.residual, call.taps = sizes.kernel_size;
  call.first_shift = sizes.delay(layer, 0), call.step = sizes.dilations[layer];
  call.gradient = dh, call.dx_next = dx_next, call.dx = dx;
  set_tails<T>(call, tails, layer == sizes.layers - 1, layer == 0);
  const std::int64_t offset = layer * call.taps * call.width * call.channels;
  call.straight = weights.taps_straight + offset, call.crossed = weights.taps_crossed + offset;
  input_backward(path, call, stream);
}

std::int64_t glu_forward_scratch_bytes(const GluResidualStackSizes& sizes, Element element, StackPath path) {
  return path == StackPath::kGeneral ? sizes.batch * sizes.time * sizes.channels * bytes_of(element) : 0;
}

template <class T>
void launch_glu_forward(const GluResidualStackSizes& sizes, StackPath path, const void* packed, std::int64_t layer,
                        const T* x, T* x_next, void* tails, void* scratch, cudaStream_t stream) {
  if (empty(sizes.batch, sizes.time)) return;
  GluForwardCall<T> call{layer, x, x_next, static_cast<T*>(scratch)};
  set_tails<T>(call, tails, layer == 0, layer == sizes.layers - 1);
  MUSICSTAR_CHOOSE(T, path, forward, sizes, packed, call, stream);
}

template <class T>
void launch_glu_pointwise_backward(const GluResidualStackSizes& sizes, StackPath path, const void* packed,
                                   std::int64_t layer, const T* x, const T* dx_next, T* du, T* dp, T* a,
                                   cudaStream_t stream) {
  if (empty(sizes.batch, sizes.time)) return;
  const GluBackwardCall<T> call{layer, x, dx_next, du, dp, a};
  MUSICSTAR_CHOOSE(T, path, pointwise_backward, sizes, packed, call, stream);
}

template <class T>
void launch_glu_input_backward(const GluResidualStackSizes& sizes, StackPath path, const void* packed,
                               std::int64_t layer, const T* du, const T* dx_next, T* dx, void* tails,
                               cudaStream_t stream) {
  const GluWeights<T> weights(sizes, packed);
  InputBackwardCall<T> call;
  call.batch = sizes.batch, call.time = sizes.time;
  call.channels = call.width = sizes.channels, call.taps = sizes.kernel_size;
  call.first_shift = -sizes.offset(layer, 0), call.step = sizes.dilations[layer];
  call.gradient = du, call.dx_next = dx_next, call.dx = dx;
  set_tails<T>(call, tails, layer == sizes.layers - 1, layer == 0);
  const std::int64_t offset = layer * call.taps * call.width * call.channels;
  call.straight = weights.taps_straight + offset, call.crossed = weights.taps_crossed + offset;
  input_backward(path, call, stream);
}

#define MUSICSTAR_LAYERS(T)                                                                                          \
  template void launch_gated_forward(const GatedResidualStackSizes&, StackPath, const void*, std::int64_t, const T*, \
                                     const float*, T*, void*, T*, cudaStream_t);                                     \
  template void launch_skip_sum(const GatedResidualStackSizes&, StackPath, const void*, std::int64_t, std::int64_t,  \
                                const T*, float*, T*, cudaStream_t);                                                 \
  template void launch_gated_gate_backward(const GatedResidualStackSizes&, StackPath, const void*, std::int64_t,     \
                                           const T*, const float*, const T*, const T*, T*, float*, void*,            \
                                           cudaStream_t);                                                            \
  template void launch_gated_input_backward(const GatedResidualStackSizes&, StackPath, const void*, std::int64_t,    \
                                            const T*, const T*, T*, void*, cudaStream_t);                            \
  template void launch_glu_forward(const GluResidualStackSizes&, StackPath, const void*, std::int64_t, const T*, T*, \
                                   void*, void*, cudaStream_t);                                                      \
  template void launch_glu_pointwise_backward(const GluResidualStackSizes&, StackPath, const void*, std::int64_t,    \
                                              const T*, const T*, T*, T*, T*, cudaStream_t);                         \
  template void launch_glu_input_backward(const GluResidualStackSizes&, StackPath, const void*, std::int64_t,        \
                                          const T*, const T*, T*, void*, cudaStream_t);
MUSICSTAR_LAYERS(float)
MUSICSTAR_LAYERS(bf16)
#undef MUSICSTAR_LAYERS
#undef MUSICSTAR_CHOOSE

}  // namespace musicstar::cuda
