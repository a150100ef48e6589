// Packing of a stack's weights, once per call:
//
//   straight[l][k][o][i] = crossed[l][k][i][o] = weight[l][o][i][k],   biases in fp32
//
// One thread an element, in the order of `straight`. The decoder's 40 layers are 4 M elements: 16 MB read, 16 MB
// written (bf16): some 20 us on an H200, once a call.
#include "cuda/launch.h"
#include "cuda/stack_layers.h"
#include "cuda/stack_weights.h"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;

// resources: registers <= 40, shared <= 0 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kThreads)
    pack_weights_kernel(const float* weight, std::int64_t matrices, std::int64_t taps, std::int64_t outputs,
                        std::int64_t inputs, T* straight, T* crossed) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= matrices * taps * outputs * inputs) return;
  const std::int64_t i = index % inputs, o = index / inputs % outputs;
  const std::int64_t matrix = index / (inputs * outputs);  // layer * taps + tap
  const std::int64_t layer = matrix / taps, tap = matrix % taps;
  const T value = static_cast<T>(weight[((layer * outputs + o) * inputs + i) * taps + tap]);
  straight[index] = value;
  crossed[(matrix * inputs + i) * outputs + o] = value;
}

LaunchShape elementwise(std::int64_t elements) {
  return {dim3(static_cast<unsigned>((elements + kThreads - 1) / kThreads)), dim3(kThreads)};
}

template <class T>
void pack_weights(const float* weight, std::int64_t layers, std::int64_t taps, std::int64_t outputs,
                  std::int64_t inputs, const T* straight, const T* crossed, cudaStream_t stream) {
  const std::int64_t elements = layers * taps * outputs * inputs;
  if (elements == 0) return;
  launch(pack_weights_kernel<T>, elementwise(elements), stream, weight, layers, taps, outputs, inputs,
         const_cast<T*>(straight), const_cast<T*>(crossed));
}

void pack_bias(const float* bias, std::int64_t elements, const float* packed, cudaStream_t stream) {
  if (elements == 0) return;
  check(cudaMemcpyAsync(const_cast<float*>(packed), bias, elements * sizeof(float), cudaMemcpyDeviceToDevice, stream),
        "packing the biases of a stack");
}

}  // namespace

std::int64_t packed_bytes(const GatedResidualStackSizes& sizes, Element element) {
  return element == Element::kBfloat16 ? GatedWeights<bf16>(sizes, nullptr).bytes
                                       : GatedWeights<float>(sizes, nullptr).bytes;
}

std::int64_t packed_bytes(const GluResidualStackSizes& sizes, Element element) {
  return element == Element::kBfloat16 ? GluWeights<bf16>(sizes, nullptr).bytes
                                       : GluWeights<float>(sizes, nullptr).bytes;
}

template <class T>
void launch_pack(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs& inputs, void* packed,
                 cudaStream_t stream) {
  const GatedWeights<T> weights(sizes, packed);
  const std::int64_t channels = sizes.residual;
  pack_weights(inputs.dilated, sizes.layers, sizes.kernel_size, 2 * channels, channels, weights.taps_straight,
               weights.taps_crossed, stream);
  pack_weights(inputs.residual, sizes.layers, std::int64_t{1}, channels, channels, weights.residual_straight,
               weights.residual_crossed, stream);
  pack_weights(inputs.skip, sizes.layers, std::int64_t{1}, sizes.skip, channels, weights.skip_straight,
               weights.skip_crossed, stream);
  pack_bias(inputs.residual_bias, sizes.layers * channels, weights.residual_bias, stream);
}

template <class T>
void launch_pack(const GluResidualStackSizes& sizes, const GluResidualStackInputs& inputs, void* packed,
                 cudaStream_t stream) {
  const GluWeights<T> weights(sizes, packed);
  const std::int64_t channels = sizes.channels, outputs = sizes.pointwise_channels();
  pack_weights(inputs.dilated, sizes.layers, sizes.kernel_size, channels, channels, weights.taps_straight,
               weights.taps_crossed, stream);
  pack_weights(inputs.pointwise, sizes.layers, std::int64_t{1}, outputs, channels, weights.pointwise_straight,
               weights.pointwise_crossed, stream);
  pack_bias(inputs.dilated_bias, sizes.layers * channels, weights.dilated_bias, stream);
  pack_bias(inputs.pointwise_bias, sizes.layers * outputs, weights.pointwise_bias, stream);
}

#define MUSICSTAR_PACK(T)                                                                                             \
  template void launch_pack<T>(const GatedResidualStackSizes&, const GatedResidualStackInputs&, void*, cudaStream_t); \
  template void launch_pack<T>(const GluResidualStackSizes&, const GluResidualStackInputs&, void*, cudaStream_t);
MUSICSTAR_PACK(float)
MUSICSTAR_PACK(bf16)
#undef MUSICSTAR_PACK

}  // namespace musicstar::cuda
