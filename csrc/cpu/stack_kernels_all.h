// The kernels of the residual stacks, compiled once per instruction set: as kernels_all.h says.
#pragma once

#include "cpu/stack_gradients.h"
#include "cpu/stack_pairs.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

extern const StackKernels kStackKernels;
const StackKernels kStackKernels = {
    kWidth,
    kBlockRows,
    rows_product<AddEpilogue>,
    rows_product<RectifiedEpilogue>,
    rows_product<GatedEpilogue>,
    rows_product<GluEpilogue>,
    rows_product<GatedGradientEpilogue>,
    rows_product<RectifiedGradientEpilogue>,
    pairs_product<AddEpilogue>,
    pairs_product<RectifiedEpilogue>,
    pairs_product<GatedEpilogue>,
    input_panels,
    gradient_panels,
    glu_gradient,
    gradient,
    column_sums,
    add,
};

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
