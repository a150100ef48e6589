// csrc/cuda/instructions/matrix.cuh for the emulated GPU: the fragments as the PTX ISA defines them.
#pragma once

#include "emulated_gpu/machine.h"

namespace musicstar::cuda {

void mma_bf16_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);
void ldmatrix_x4(std::uint32_t (&d)[4], const void* row);
void ldmatrix_x4_transposed(std::uint32_t (&d)[4], const void* row);
void ldmatrix_x2(std::uint32_t (&d)[2], const void* row);
void ldmatrix_x2_transposed(std::uint32_t (&d)[2], const void* row);
void stmatrix_x4(void* row, const std::uint32_t (&s)[4]);
void stmatrix_x4_transposed(void* row, const std::uint32_t (&s)[4]);

}  // namespace musicstar::cuda
