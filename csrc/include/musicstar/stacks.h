// Whole residual stacks under training: forward and backward, as the two networks have them between their first and
// last 1x1 convolutions. One call a stack, on views that the caller owns: nothing is allocated that is not asked for
// here.
//
// Letters as everywhere: B batch, T time, R residual, S skip, C channels, K kernel, L layers, F code frames. Sequences
// are time-major, [B][T][channels], and contiguous; weights are those of the layers stacked, [L][out][in][k] as in
// nn.Conv1d. x[t] is zero before the first and after the last sample, in every layer.
//
// gated_residual_stack, the decoder's (causal; tap k of a layer with dilation d reads t - (K - 1 - k) d):
//
//   h_l[t] = sum_k dilated[l][:, :, k] x_l[t - (K - 1 - k) d_l] + condition[l][t / pool]          (2R: gate, then
//   filter) z_l[t] = sigmoid(h_l[t][0 .. R)) * tanh(h_l[t][R .. 2R)) x_{l+1}[t] = x_l[t] + residual[l] z_l[t] +
//   residual_bias[l] result[t] = sum_l skip[l] z_l[t] (no bias: the caller's)
//
// x of the last layer's end is used by nobody: the last residual and its bias have the gradient zero.
//
// glu_residual_stack, the encoders' (centred; tap k reads t + (k - K / 2) d), Fig. 4b where `gated` and Fig. 4a where
// not:
//
//   a_l[t] = ReLU(dilated_bias[l] + sum_k dilated[l][:, :, k] x_l[t + (k - K / 2) d_l])              (C)
//   p_l[t] = pointwise[l] a_l[t] + pointwise_bias[l]                                                 (2C where gated,
//   else C) x_{l+1}[t] = x_l[t] + p_l[t][0 .. C) * sigmoid(p_l[t][C .. 2C))       where gated x_{l+1}[t] = x_l[t] +
//   p_l[t]                                          where not result = x_L
#pragma once

#include <cstdint>

#include "musicstar/isa.h"

namespace musicstar {

struct GatedResidualStackSizes {
  std::int64_t batch = 0, time = 0;
  std::int64_t residual = 0, skip = 0;
  std::int64_t kernel_size = 2;
  std::int64_t layers = 0;
  const std::int64_t* dilations = nullptr;  // [L], each at least 1; may exceed T
  std::int64_t frames = 0, pool = 1;        // of the condition: frames * pool >= T

  // Distance of tap k into the past.
  std::int64_t delay(std::int64_t layer, std::int64_t k) const { return (kernel_size - 1 - k) * dilations[layer]; }
};

template <class T>
struct GatedResidualStackInputs {
  const T* x = nullptr;              // [B][T][R]
  const T* condition = nullptr;      // [L][B][F][2R]: projected for each layer, all biases of h inside
  const T* dilated = nullptr;        // [L][2R][R][K]
  const T* residual = nullptr;       // [L][R][R]
  const T* residual_bias = nullptr;  // [L][R]
  const T* skip = nullptr;           // [L][S][R]
};

// Gradients of the inputs, in the inputs' shapes; written, not added to. Null: not wanted, and not computed where that
// saves work.
template <class T>
struct GatedResidualStackGradients {
  T* x = nullptr;
  T* condition = nullptr;
  T* dilated = nullptr;
  T* residual = nullptr;
  T* residual_bias = nullptr;
  T* skip = nullptr;
};

struct GluResidualStackSizes {
  bool gated = true;
  std::int64_t batch = 0, time = 0;
  std::int64_t channels = 0;
  std::int64_t kernel_size = 3;
  std::int64_t layers = 0;
  const std::int64_t* dilations = nullptr;  // [L], each at least 1; may exceed T

  std::int64_t pointwise_channels() const { return gated ? 2 * channels : channels; }
  // Where tap k reads, relative to its output.
  std::int64_t offset(std::int64_t layer, std::int64_t k) const { return (k - kernel_size / 2) * dilations[layer]; }
};

template <class T>
struct GluResidualStackInputs {
  const T* x = nullptr;               // [B][T][C]
  const T* dilated = nullptr;         // [L][C][C][K]
  const T* dilated_bias = nullptr;    // [L][C]
  const T* pointwise = nullptr;       // [L][2C or C][C]
  const T* pointwise_bias = nullptr;  // [L][2C or C]
};

template <class T>
struct GluResidualStackGradients {
  T* x = nullptr;
  T* dilated = nullptr;
  T* dilated_bias = nullptr;
  T* pointwise = nullptr;
  T* pointwise_bias = nullptr;
};

// Bytes of the buffers that a caller hands to a stack. `saved` passes from forward to backward untouched, the others
// are scratch. All are aligned to 64 bytes, and 0 where none is needed.
struct StackMemory {
  std::int64_t saved = 0;      // what backward needs of forward
  std::int64_t inference = 0;  // scratch of a forward that saves nothing
  std::int64_t forward = 0;    // scratch of a forward that saves
  std::int64_t backward = 0;   // scratch of a backward
};

// The equations, in double precision: what every other implementation is tested against. They keep what they like.
namespace reference {

// result [B][T][S].
void gated_residual_stack_forward(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs<double>& inputs,
                                  double* result);
// result_gradient [B][T][S].
void gated_residual_stack_backward(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs<double>& inputs,
                                   const double* result_gradient, const GatedResidualStackGradients<double>& gradients);
// result [B][T][C].
void glu_residual_stack_forward(const GluResidualStackSizes& sizes, const GluResidualStackInputs<double>& inputs,
                                double* result);
// result_gradient [B][T][C].
void glu_residual_stack_backward(const GluResidualStackSizes& sizes, const GluResidualStackInputs<double>& inputs,
                                 const double* result_gradient, const GluResidualStackGradients<double>& gradients);

}  // namespace reference

// On the CPU, in fp32. `saved` null: an inference, which takes `inference` bytes of scratch and leaves nothing for a
// backward. Equal bits whatever the number of threads. Forward and backward of a step must name the same instruction
// set.
namespace cpu {

StackMemory gated_residual_stack_memory(const GatedResidualStackSizes& sizes, int threads, Isa isa);
void gated_residual_stack_forward(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs<float>& inputs,
                                  float* result, void* saved, void* scratch, int threads, Isa isa);
void gated_residual_stack_backward(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs<float>& inputs,
                                   const float* result_gradient, const GatedResidualStackGradients<float>& gradients,
                                   const void* saved, void* scratch, int threads, Isa isa);

StackMemory glu_residual_stack_memory(const GluResidualStackSizes& sizes, int threads, Isa isa);
void glu_residual_stack_forward(const GluResidualStackSizes& sizes, const GluResidualStackInputs<float>& inputs,
                                float* result, void* saved, void* scratch, int threads, Isa isa);
void glu_residual_stack_backward(const GluResidualStackSizes& sizes, const GluResidualStackInputs<float>& inputs,
                                 const float* result_gradient, const GluResidualStackGradients<float>& gradients,
                                 const void* saved, void* scratch, int threads, Isa isa);

}  // namespace cpu

// The CUDA counterparts (float and bf16, a stream in place of the threads) are in cuda_stacks.h.

}  // namespace musicstar
