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

template <class P>
void convert(const float* x, std::int64_t floats, char* row) {
  if constexpr (P::kConverted) P::convert(x, floats, row);
}

template <class P>
constexpr Kernels::InPrecision in_precision() {
  return {P::kFormat,
          P::ForEnds::kPrecision,
          P::ForEncoder::kPrecision,
          P::kConverted ? convert<P> : nullptr,
          encoder_layer<typename P::ForEncoder>,
          sample<P>,
          split_sample<P>};
}

extern const Kernels kKernels;
const Kernels kKernels = {
    kTile,
    product_fp32,
    encoder_scratch_floats,
    encoder_layer_in_pairs,
    {in_precision<Fp32>(), in_precision<Bf16>(), in_precision<Int8>()},
};

}  // namespace musicstar::cpu::MUSICSTAR_KERNELS
