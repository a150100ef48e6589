// The decoder's weights in the order of the sampler's kernels, made on the host.
#pragma once

#include <cstdint>
#include <vector>

#include "musicstar/networks.h"

namespace musicstar::cuda {

// A float to bf16, to the nearest, ties to even; the bits.
std::uint16_t bf16_bits(float value);

// As sampler_general.h says.
std::vector<float> pack_general_matrices(const DecoderSizes& sizes, const DecoderWeights& weights);
std::vector<float> pack_general_vectors(const DecoderSizes& sizes, const DecoderWeights& weights);

// As sampler_pipeline.h says: words of two bf16, four to a fragment.
std::vector<std::uint32_t> pack_pipeline_layer(const DecoderSizes& sizes, const DecoderWeights::Layer& layer);
std::vector<std::uint32_t> pack_pipeline_head(const DecoderSizes& sizes, const DecoderWeights& weights);
std::vector<float> pack_pipeline_constants(const DecoderSizes& sizes, const DecoderWeights& weights);

}  // namespace musicstar::cuda
