// The packed weights of a stack: where launch_pack_* puts them and the kernels find them.
//
// `straight` is (out, in), each row contiguous in what a forward product sums over: the B operand of the tensor cores
// in the forward, and of the plain kernels (which read whole rows) in the backward. `crossed` is (in, out): the other
// way round. Taps lie apart, so that a tap is a product of its own. Every array starts at a multiple of 128 bytes.
#pragma once

#include <cstdint>

#include "cuda/instructions.cuh"
#include "musicstar/stacks.h"

namespace musicstar::cuda {

// Hands out consecutive, aligned arrays of one buffer; with a null base it only counts.
class PackedArrays {
 public:
  explicit PackedArrays(const void* base) : base_(static_cast<const char*>(base)) {}

  template <class T>
  const T* take(std::int64_t elements) {
    const std::int64_t start = used_;
    used_ += (elements * static_cast<std::int64_t>(sizeof(T)) + 127) / 128 * 128;
    return base_ == nullptr ? nullptr : reinterpret_cast<const T*>(base_ + start);
  }
  std::int64_t bytes() const { return used_; }

 private:
  const char* base_;
  std::int64_t used_ = 0;
};

template <class T>
struct GatedWeights {
  const T *taps_straight, *taps_crossed;          // [L][K][2R][R], [L][K][R][2R]
  const T *residual_straight, *residual_crossed;  // [L][R][R]
  const T *skip_straight, *skip_crossed;          // [L][S][R], [L][R][S]
  const float* residual_bias;                     // [L][R]
  std::int64_t bytes;

  GatedWeights(const GatedResidualStackSizes& sizes, const void* packed) {
    PackedArrays arrays(packed);
    const std::int64_t layers = sizes.layers, channels = sizes.residual;
    const std::int64_t taps = layers * sizes.kernel_size * 2 * channels * channels;
    taps_straight = arrays.take<T>(taps);
    taps_crossed = arrays.take<T>(taps);
    residual_straight = arrays.take<T>(layers * channels * channels);
    residual_crossed = arrays.take<T>(layers * channels * channels);
    skip_straight = arrays.take<T>(layers * sizes.skip * channels);
    skip_crossed = arrays.take<T>(layers * sizes.skip * channels);
    residual_bias = arrays.take<float>(layers * channels);
    bytes = arrays.bytes();
  }
};

template <class T>
struct GluWeights {
  const T *taps_straight, *taps_crossed;            // [L][K][C][C]
  const T *pointwise_straight, *pointwise_crossed;  // [L][P][C], [L][C][P] with P = 2C or C
  const float *dilated_bias, *pointwise_bias;       // [L][C], [L][P]
  std::int64_t bytes;

  GluWeights(const GluResidualStackSizes& sizes, const void* packed) {
    PackedArrays arrays(packed);
    const std::int64_t layers = sizes.layers, channels = sizes.channels, outputs = sizes.pointwise_channels();
    const std::int64_t taps = layers * sizes.kernel_size * channels * channels;
    taps_straight = arrays.take<T>(taps);
    taps_crossed = arrays.take<T>(taps);
    pointwise_straight = arrays.take<T>(layers * outputs * channels);
    pointwise_crossed = arrays.take<T>(layers * outputs * channels);
    dilated_bias = arrays.take<float>(layers * channels);
    pointwise_bias = arrays.take<float>(layers * outputs);
    bytes = arrays.bytes();
  }
};

}  // namespace musicstar::cuda
