// All kernels, compiled once per instruction set.
//
// The including file defines MUSICSTAR_KERNELS (a namespace of its own), MUSICSTAR_VECTOR_FLOATS, MUSICSTAR_ROWS (how
// many rows a block of registers holds: ROWS x 2 sums, 2 weights), and MUSICSTAR_DOT_PRODUCTS where AVX-512's VNNI and
// BF16 may be used.
#pragma once

#include "cpu/encoder_pairs.h"
#include "cpu/sampler_kernels.h"
#include "cpu/split_kernels.h"

namespace musicstar::cpu::MUSICSTAR_KERNELS {

extern const Kernels kKernels;
const Kernels kKernels = {
    kTile,
    product_fp32,
    encoder_scratch_floats,
    encoder_layer_in_pairs,
    {
        {Fp32::kFormat, Precision::kFp32, encoder_layer<Fp32>, sample<Fp32>, split_sample<Fp32>},
        {Bf16::kFormat, Precision::kBf16, encoder_layer<Bf16>, sample<Bf16>, split_sample<Bf16>},
        {Int8::kFormat, Precision::kBf16, encoder_layer<Int8>, sample<Int8>, split_sample<Int8>},
    },
};

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
