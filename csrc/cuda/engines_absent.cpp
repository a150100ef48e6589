// Built in place of encoder.cu and sampler.cu where there is no CUDA compiler.
#include "musicstar/cuda_encoder.h"
#include "musicstar/cuda_errors.h"
#include "musicstar/cuda_sampler.h"

namespace musicstar::cuda {

namespace {

constexpr const char* kReason = "no usable GPU: this build has no CUDA";

}  // namespace

std::unique_ptr<Encoder> make_encoder(const EncoderSizes&, const EncoderWeights&, int, const EncoderOptions&) {
  throw Error(kReason);
}

std::unique_ptr<Sampler> make_sampler(const DecoderSizes&, const DecoderWeights&, std::int64_t, int,
                                      const SamplerOptions&) {
  throw Error(kReason);
}

}  // namespace musicstar::cuda
