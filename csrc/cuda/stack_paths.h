// What each path offers to stack_layers.cu: the launches of stack_layers.h, of one path. The general kernels take float
// and bf16, the tensor cores bf16.
#pragma once

#include "cuda/stack_layers.h"

namespace musicstar::cuda {

template <class T>
struct GatedForwardCall {
  std::int64_t layer = 0;
  const T* x = nullptr;
  const float* condition = nullptr;
  T* x_next = nullptr;  // may be null
  T* z = nullptr;
  const void* tails_before = nullptr;  // of x (stack_tails.cuh), as this path keeps them; null: none
  void* tails_after = nullptr;         // of x_next; null: not wanted; perhaps the same plane
};

template <class T>
struct SkipSumCall {
  std::int64_t first_layer = 0, layers = 0;
  const T* z = nullptr;
  float* running = nullptr;  // may be null
  T* sum = nullptr;          // may be null
};

template <class T>
struct GateBackwardCall {
  std::int64_t layer = 0;
  const T* x = nullptr;
  const float* condition = nullptr;
  const T* dx_next = nullptr;  // may be null: zero
  const T* dsum = nullptr;
  T* dh = nullptr;
  float* strips = nullptr;  // may be null; not written by the general kernels
};

// Both stacks: dx = dx_next + sum over taps k of gradient[t + shift_k] taps[k], taps [K][width][channels] as (out, in).
template <class T>
struct InputBackwardCall {
  std::int64_t batch = 0, time = 0, channels = 0, width = 0;  // width: channels of `gradient`
  std::int64_t taps = 0;
  std::int64_t first_shift = 0, step = 0;  // shift_k = first_shift - k step
  const T* gradient = nullptr;
  const T* straight = nullptr;  // [K][width][channels]
  const T* crossed = nullptr;   // [K][channels][width]
  const T* dx_next = nullptr;   // may be null: zero
  T* dx = nullptr;
  const void* tails_before = nullptr;  // of dx_next (stack_tails.cuh), as this path keeps them; null: none
  void* tails_after = nullptr;         // of dx; null: not wanted; perhaps the same plane
};

template <class T>
struct GluForwardCall {
  std::int64_t layer = 0;
  const T* x = nullptr;
  T* x_next = nullptr;
  T* a = nullptr;                      // scratch of the general path
  const void* tails_before = nullptr;  // of x (stack_tails.cuh), as this path keeps them; null: none
  void* tails_after = nullptr;         // of x_next; null: not wanted; perhaps the same plane
};

template <class T>
struct GluBackwardCall {
  std::int64_t layer = 0;
  const T* x = nullptr;
  const T* dx_next = nullptr;
  T *du = nullptr, *dp = nullptr, *a = nullptr;  // dp is null where the stack is not gated
};

namespace general {
template <class T>
void forward(const GatedResidualStackSizes&, const void* packed, const GatedForwardCall<T>&, cudaStream_t);
template <class T>
void skip_sum(const GatedResidualStackSizes&, const void* packed, const SkipSumCall<T>&, cudaStream_t);
template <class T>
void gate_backward(const GatedResidualStackSizes&, const void* packed, const GateBackwardCall<T>&, cudaStream_t);
template <class T>
void input_backward(const InputBackwardCall<T>&, cudaStream_t);
template <class T>
void forward(const GluResidualStackSizes&, const void* packed, const GluForwardCall<T>&, cudaStream_t);
template <class T>
void pointwise_backward(const GluResidualStackSizes&, const void* packed, const GluBackwardCall<T>&, cudaStream_t);
}  // namespace general

namespace mma {
void forward(const GatedResidualStackSizes&, const void* packed, const GatedForwardCall<__nv_bfloat16>&, cudaStream_t);
void skip_sum(const GatedResidualStackSizes&, const void* packed, const SkipSumCall<__nv_bfloat16>&, cudaStream_t);
void gate_backward(const GatedResidualStackSizes&, const void* packed, const GateBackwardCall<__nv_bfloat16>&,
                   cudaStream_t);
void input_backward(const InputBackwardCall<__nv_bfloat16>&, cudaStream_t);
void forward(const GluResidualStackSizes&, const void* packed, const GluForwardCall<__nv_bfloat16>&, cudaStream_t);
void pointwise_backward(const GluResidualStackSizes&, const void* packed, const GluBackwardCall<__nv_bfloat16>&,
                        cudaStream_t);
}  // namespace mma

namespace wgmma {  // sizes whose weights do not fit an SM go to mma
void forward(const GatedResidualStackSizes&, const void* packed, const GatedForwardCall<__nv_bfloat16>&, cudaStream_t);
void skip_sum(const GatedResidualStackSizes&, const void* packed, const SkipSumCall<__nv_bfloat16>&, cudaStream_t);
void gate_backward(const GatedResidualStackSizes&, const void* packed, const GateBackwardCall<__nv_bfloat16>&,
                   cudaStream_t);
void input_backward(const InputBackwardCall<__nv_bfloat16>&, cudaStream_t);
void forward(const GluResidualStackSizes&, const void* packed, const GluForwardCall<__nv_bfloat16>&, cudaStream_t);
void pointwise_backward(const GluResidualStackSizes&, const void* packed, const GluBackwardCall<__nv_bfloat16>&,
                        cudaStream_t);
}  // namespace wgmma

// The condition's gradient [B][F][2R] from dh, or from the sums of strips of 16 rows (frame_sums.cuh), which the
// tensor-core kernels leave where a strip meets at most two frames.
template <class T>
void sum_frames(const GatedResidualStackSizes&, const T* dh, float* dcondition, cudaStream_t);
bool strips_suffice(const GatedResidualStackSizes&);
std::int64_t strips_of_sequence(const GatedResidualStackSizes&);
void add_strips(const GatedResidualStackSizes&, const float* strips, float* dcondition, cudaStream_t);

}  // namespace musicstar::cuda
