// One layer of a residual stack on the GPU, forward and data backward: what stacks.cpp puts together to whole stacks.
//
// Activations are [B][T][channels], contiguous, in T = float (fp32 products, for checking and for any size) or bf16
// (storage; every sum in fp32). All pointers are to device memory and aligned to 16 bytes. Nothing here allocates,
// synchronises or reads the host after it returns, and every sum has one fixed order: calls can be captured in a CUDA
// graph and repeat to the bit.
//
// In bf16, x and dx may have tails (stack_tails.cuh): a plane of `tail_bytes`, which one forward or one backward hands
// from layer to layer in place; the layer with which it begins reads none, and the one with which it ends writes none.
// Only the kernels of the same path understand it. Null, and always in float: no tails.
//
// The weights of all layers are packed once per call (`launch_pack_*`) into a buffer that only these kernels
// understand: taps apart, transposed copies for the backward, biases in fp32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "musicstar/cuda_stacks.h"

namespace musicstar::cuda {

// Whether this path has kernels for the sizes, in bf16, on a device of this compute capability (major * 10 + minor);
// float always takes kGeneral, which takes any sizes. The tensor cores want R = S (or C) in {32, 64, 128} and K <= 3.
// In what follows `path` is never kAutomatic, and the same in all calls of a forward and its backward.
bool supports(const GatedResidualStackSizes& sizes, StackPath path, int compute_capability);
bool supports(const GluResidualStackSizes& sizes, StackPath path, int compute_capability);

// --- The gated stack ---
//
// What forward leaves for backward: x_l of every layer (x_0 is the input) and z_l of every layer. h is computed again.
// Backward of layer l, from the last to the first: launch_gated_gate_backward (dh), the weight gradients from dh, x_l,
// z_l, dx_{l+1} and the gradient of the skip sum, launch_gated_input_backward (dx_l).

std::int64_t packed_bytes(const GatedResidualStackSizes& sizes, Element element);
std::int64_t tail_bytes(const GatedResidualStackSizes& sizes, Element element);

// The weights and biases of `inputs`, rounded to T (biases stay in fp32).
template <class T>
void launch_pack(const GatedResidualStackSizes& sizes, const GatedResidualStackInputs& inputs, void* packed,
                 cudaStream_t stream);

// x [B][T][R], condition [B][F][2R] of this layer -> z [B][T][R] and, where not null, x_next [B][T][R].
template <class T>
void launch_gated_forward(const GatedResidualStackSizes& sizes, StackPath path, const void* packed, std::int64_t layer,
                          const T* x, const float* condition, T* x_next, void* tails, T* z, cudaStream_t stream);

// The layers [first_layer, first_layer + layers) of z [layers][B][T][R] -> their part of the skip sum. With `running`
// [B][T][S] (fp32; null where one call takes all layers) the sum continues over calls: read unless first_layer is 0,
// written unless `sum` [B][T][S] is wanted.
template <class T>
void launch_skip_sum(const GatedResidualStackSizes& sizes, StackPath path, const void* packed, std::int64_t first_layer,
                     std::int64_t layers, const T* z, float* running, T* sum, cudaStream_t stream);

// Scratch of launch_gated_gate_backward where the condition's gradient is wanted.
std::int64_t gate_backward_scratch_bytes(const GatedResidualStackSizes& sizes, StackPath path);

// dx_next [B][T][R] (null: zero, the last layer's) and dsum [B][T][S] -> dh [B][T][2R] and, where not null, dcondition
// [B][F][2R], the sum of dh over each frame.
template <class T>
void launch_gated_gate_backward(const GatedResidualStackSizes& sizes, StackPath path, const void* packed,
                                std::int64_t layer, const T* x, const float* condition, const T* dx_next, const T* dsum,
                                T* dh, float* dcondition, void* scratch, cudaStream_t stream);

// dh [B][T][2R], dx_next [B][T][R] (null: zero) -> dx [B][T][R] = dx_next + sum_k dh[t + delay(k)] dilated_k. dx must
// not be dh or dx_next.
template <class T>
void launch_gated_input_backward(const GatedResidualStackSizes& sizes, StackPath path, const void* packed,
                                 std::int64_t layer, const T* dh, const T* dx_next, T* dx, void* tails,
                                 cudaStream_t stream);

// --- The GLU stack (and, where sizes.gated is false, the plain one) ---
//
// What forward leaves for backward: x_l of every layer. a_l and p_l are computed again.

std::int64_t packed_bytes(const GluResidualStackSizes& sizes, Element element);
std::int64_t tail_bytes(const GluResidualStackSizes& sizes, Element element);

template <class T>
void launch_pack(const GluResidualStackSizes& sizes, const GluResidualStackInputs& inputs, void* packed,
                 cudaStream_t stream);

// Scratch of launch_glu_forward: 0 but for kGeneral, whose a_l passes through memory.
std::int64_t glu_forward_scratch_bytes(const GluResidualStackSizes& sizes, Element element, StackPath path);

// x [B][T][C] -> x_next [B][T][C], which must not be x.
template <class T>
void launch_glu_forward(const GluResidualStackSizes& sizes, StackPath path, const void* packed, std::int64_t layer,
                        const T* x, T* x_next, void* tails, void* scratch, cudaStream_t stream);

// dx_next [B][T][C] -> du [B][T][C] (the gradient before the ReLU), dp [B][T][2C] (gradient of p; null where not gated:
// there it is dx_next) and a [B][T][C]: what the gradients of the weights need.
template <class T>
void launch_glu_pointwise_backward(const GluResidualStackSizes& sizes, StackPath path, const void* packed,
                                   std::int64_t layer, const T* x, const T* dx_next, T* du, T* dp, T* a,
                                   cudaStream_t stream);

// du [B][T][C], dx_next [B][T][C] -> dx [B][T][C] = dx_next + sum_k du[t - offset(k)] dilated_k. dx must not be du or
// dx_next.
template <class T>
void launch_glu_input_backward(const GluResidualStackSizes& sizes, StackPath path, const void* packed,
                               std::int64_t layer, const T* du, const T* dx_next, T* dx, void* tails,
                               cudaStream_t stream);

}  // namespace musicstar::cuda
