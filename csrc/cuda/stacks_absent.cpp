// Built in place of stacks.cpp and the stacks' kernels where there is no CUDA compiler.
#include "musicstar/cuda_errors.h"
#include "musicstar/cuda_stacks.h"

namespace musicstar::cuda {

namespace {

[[noreturn]] void no_cuda() { throw Error("no usable GPU: this build has no CUDA"); }

}  // namespace

const char* name_of(StackPath) { no_cuda(); }

StackPath stack_path_named(const std::string&) { no_cuda(); }

void wait_for_stream(void*) { no_cuda(); }

StackPath resolve_path(const GatedResidualStackSizes&, Element, StackPath) { no_cuda(); }

StackPath resolve_path(const GluResidualStackSizes&, Element, StackPath) { no_cuda(); }

StackMemory gated_residual_stack_memory(const GatedResidualStackSizes&, Element, StackPath) { no_cuda(); }

StackMemory glu_residual_stack_memory(const GluResidualStackSizes&, Element, StackPath) { no_cuda(); }

void gated_residual_stack_forward(const GatedResidualStackSizes&, Element, const GatedResidualStackInputs&, void*,
                                  void*, void*, void*, StackPath) {
  no_cuda();
}

void gated_residual_stack_backward(const GatedResidualStackSizes&, Element, const GatedResidualStackInputs&,
                                   const void*, const GatedResidualStackGradients&, const void*, void*, void*,
                                   StackPath) {
  no_cuda();
}

void glu_residual_stack_forward(const GluResidualStackSizes&, Element, const GluResidualStackInputs&, void*, void*,
                                void*, void*, StackPath) {
  no_cuda();
}

void glu_residual_stack_backward(const GluResidualStackSizes&, Element, const GluResidualStackInputs&, const void*,
                                 const GluResidualStackGradients&, const void*, void*, void*, StackPath) {
  no_cuda();
}

}  // namespace musicstar::cuda
