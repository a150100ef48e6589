// The decoder's weights in the order and precision of the kernels: shared by all lanes and threads of a sampler.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/packing.h"
#include "musicstar/networks.h"

namespace musicstar::cpu {

class PackedDecoder {
 public:
  PackedDecoder(const DecoderSizes& sizes, const DecoderWeights& weights, const Kernels& kernels, Precision precision);

  const DecoderPlan& plan() const { return plan_; }

  // The condition acts on a layer through a 1x1: computed once per frame, it is the start value of that layer's sums.
  // frames: [count][C], those of lanes first .. first + count - 1. projected: as SampleCall::condition,
  // `projected_floats(lanes)`; the other lanes' rows stay as they are.
  void project(const float* frames, std::int64_t first, std::int64_t count, std::int64_t lanes, float* projected) const;
  std::int64_t projected_floats(std::int64_t lanes) const;

 private:
  const Kernels& kernels_;
  Arena arena_;
  DecoderPlan plan_;
  std::vector<DecoderLayer> layers_;
  std::vector<std::vector<PackedMatrix>> taps_;  // of each layer
  std::int64_t condition_channels_;
  std::vector<PackedMatrix> conditions_;
  std::vector<const float*> condition_biases_;
  PackedMatrix head_condition_;
  const float* head_bias_ = nullptr;
};

}  // namespace musicstar::cpu
