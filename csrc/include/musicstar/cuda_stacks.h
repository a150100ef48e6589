// The residual stacks of stacks.h (equations, letters and layouts there) on an NVIDIA GPU: whole stacks per call.
//
// Sequences (x, the result and their gradients) are float or bf16; everything else, the weights, the condition and
// their gradients, is float always: parameters stay in full precision and are rounded to bf16 inside. Sums are float.
//
// All pointers are the GPU's. `stream` is a cudaStream_t of the current device. A call queues its work there and
// returns: it allocates nothing and waits for nothing, so it can be captured into a CUDA graph. Equal inputs give equal
// bits on the same kind of GPU. Errors (a kernel that cannot be launched, a build without CUDA) are std::runtime_error
// with one line.
#pragma once

#include <cstdint>
#include <string>

#include "musicstar/stacks.h"

namespace musicstar::cuda {

// What a sequence is stored as.
enum class Element { kFloat32, kBfloat16 };
inline std::int64_t bytes_of(Element element) { return element == Element::kFloat32 ? 4 : 2; }

// Which kernels compute: plain multiply-adds (any sizes, float or bf16), mma.sync (bf16, compute capability 8.0 and
// above) or wgmma (bf16, compute capability 9.0). The tensor-core ones take the channel counts that they were compiled
// for.
enum class StackPath { kAutomatic, kGeneral, kMma, kWgmma };
const char* name_of(StackPath path);
// "automatic", "general", "mma" or "wgmma"; throws std::invalid_argument that lists them.
StackPath stack_path_named(const std::string& name);

struct GatedResidualStackInputs {
  const void* x = nullptr;               // [B][T][R], sequence
  const float* condition = nullptr;      // [L][B][F][2R]
  const float* dilated = nullptr;        // [L][2R][R][K]
  const float* residual = nullptr;       // [L][R][R]
  const float* residual_bias = nullptr;  // [L][R]
  const float* skip = nullptr;           // [L][S][R]
};

// Written, not added to. Null: not wanted, and not computed where that saves work.
struct GatedResidualStackGradients {
  void* x = nullptr;  // sequence
  float* condition = nullptr;
  float* dilated = nullptr;
  float* residual = nullptr;
  float* residual_bias = nullptr;
  float* skip = nullptr;
};

struct GluResidualStackInputs {
  const void* x = nullptr;                // [B][T][C], sequence
  const float* dilated = nullptr;         // [L][C][C][K]
  const float* dilated_bias = nullptr;    // [L][C]
  const float* pointwise = nullptr;       // [L][2C or C][C]
  const float* pointwise_bias = nullptr;  // [L][2C or C]
};

struct GluResidualStackGradients {
  void* x = nullptr;  // sequence
  float* dilated = nullptr;
  float* dilated_bias = nullptr;
  float* pointwise = nullptr;
  float* pointwise_bias = nullptr;
};

// Waits until the stream's work is done: for callers that have no CUDA of their own.
void wait_for_stream(void* stream);

// The path that `asked` means for these sizes on the current device: kAutomatic becomes the fastest that takes them.
// Throws std::invalid_argument, with one line, for a path that cannot.
StackPath resolve_path(const GatedResidualStackSizes& sizes, Element element, StackPath asked);
StackPath resolve_path(const GluResidualStackSizes& sizes, Element element, StackPath asked);

// Bytes of the buffers, each to be aligned to 256 bytes; `saved` passes from forward to backward untouched, with the
// same path.
StackMemory gated_residual_stack_memory(const GatedResidualStackSizes& sizes, Element element, StackPath path);
StackMemory glu_residual_stack_memory(const GluResidualStackSizes& sizes, Element element, StackPath path);

// `saved` null: an inference, which takes `inference` bytes of scratch and leaves nothing for a backward.
// result [B][T][S], sequence.
void gated_residual_stack_forward(const GatedResidualStackSizes& sizes, Element element,
                                  const GatedResidualStackInputs& inputs, void* result, void* saved, void* scratch,
                                  void* stream, StackPath path = StackPath::kAutomatic);
// result_gradient [B][T][S], sequence.
void gated_residual_stack_backward(const GatedResidualStackSizes& sizes, Element element,
                                   const GatedResidualStackInputs& inputs, const void* result_gradient,
                                   const GatedResidualStackGradients& gradients, const void* saved, void* scratch,
                                   void* stream, StackPath path = StackPath::kAutomatic);

// result and result_gradient [B][T][C], sequences.
void glu_residual_stack_forward(const GluResidualStackSizes& sizes, Element element,
                                const GluResidualStackInputs& inputs, void* result, void* saved, void* scratch,
                                void* stream, StackPath path = StackPath::kAutomatic);
void glu_residual_stack_backward(const GluResidualStackSizes& sizes, Element element,
                                 const GluResidualStackInputs& inputs, const void* result_gradient,
                                 const GluResidualStackGradients& gradients, const void* saved, void* scratch,
                                 void* stream, StackPath path = StackPath::kAutomatic);

}  // namespace musicstar::cuda
