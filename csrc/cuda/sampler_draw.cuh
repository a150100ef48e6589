// The draw inside the kernels, and the uniform numbers that it may make itself. Rule: reference::draw.
#pragma once

#include "cuda/instructions.cuh"

namespace musicstar::cuda {

// musicstar::philox_uniform (reference/philox.cpp), restated for the device.
__device__ __forceinline__ float uniform_of_philox(std::uint64_t seed, std::uint64_t lane, std::uint64_t index) {
  const std::uint64_t block = index / 4;
  std::uint32_t c0 = static_cast<std::uint32_t>(block), c1 = static_cast<std::uint32_t>(block >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(lane), c3 = static_cast<std::uint32_t>(lane >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * c0;
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(product0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  const auto word = static_cast<std::uint32_t>(index % 4);
  const std::uint32_t bits = word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
  return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f);
}

__device__ __forceinline__ float input_of(std::uint8_t code) { return static_cast<float>(code) / 255.0f - 0.5f; }

// The largest of the warp's values and, among equals, the lowest index; the same for all lanes.
__device__ __forceinline__ void warp_maximum(float& value, int& index) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, offset);
    const int other_index = __shfl_xor_sync(kAllLanes, index, offset);
    if (other > value || (other == value && other_index < index)) {
      value = other;
      index = other_index;
    }
  }
}

// heard = guidance heard + (1 - guidance) unheard, by one warp: exactly `heard` for 1, exactly `unheard` for 0.
__device__ __forceinline__ void warp_guide(float* heard, const float* unheard, int classes, float guidance, int lane) {
  for (int a = lane; a < classes; a += kWarp) heard[a] = fmaf(guidance, heard[a], (1.0f - guidance) * unheard[a]);
  __syncwarp();
}

// One lane's code, by one warp, the same for all its lanes. `logits`: [256], of which `classes` count; a lane of the
// warp has classes 8 lane .. 8 lane + 7. Sum is float or double: what cumulative probabilities are summed in, which
// also chooses how well exp is rounded.
template <typename Sum>
__device__ __forceinline__ int warp_draw(const float* logits, int classes, float uniform, float temperature, int lane) {
  constexpr int kEach = 8;
  float value[kEach];
  const int first = kEach * lane;
#pragma unroll
  for (int k = 0; k < kEach; k += 4) {
    const float4 four = *reinterpret_cast<const float4*>(logits + first + k);
    value[k] = four.x;
    value[k + 1] = four.y;
    value[k + 2] = four.z;
    value[k + 3] = four.w;
  }
  float top = value[0];
  int likeliest = first;
#pragma unroll
  for (int k = 1; k < kEach; ++k) {
    if (first + k < classes && value[k] > top) {
      top = value[k];
      likeliest = first + k;
    }
  }
  if (first >= classes) {
    top = -INFINITY;
    likeliest = first;
  }
  warp_maximum(top, likeliest);
  if (temperature == 0.0f) return likeliest < classes ? likeliest : 0;

  Sum probability[kEach];
  Sum sum = 0;
  const float scale = 1.0f / temperature;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if constexpr (sizeof(Sum) == 8) {
      probability[k] =
          exp((static_cast<double>(value[k]) - static_cast<double>(top)) / static_cast<double>(temperature));
    } else {
      probability[k] = fast_exp((value[k] - top) * scale);
    }
    if (first + k >= classes) probability[k] = 0;
    sum += probability[k];
  }
  Sum through = sum;  // of this lane's and all earlier classes
#pragma unroll
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const Sum other = __shfl_up_sync(kAllLanes, through, offset);
    if (lane >= offset) through += other;
  }
  const Sum threshold = static_cast<Sum>(uniform) * __shfl_sync(kAllLanes, through, kWarp - 1);
  Sum cumulative = __shfl_up_sync(kAllLanes, through, 1);
  if (lane == 0) cumulative = 0;
  int found = kEach;
#pragma unroll
  for (int k = kEach - 1; k >= 0; --k) {
    Sum here = cumulative;
#pragma unroll
    for (int i = 0; i <= k; ++i) here += probability[i];
    if (here > threshold && first + k < classes) found = k;
  }
  const unsigned who = __ballot_sync(kAllLanes, found < kEach);
  if (who == 0) return classes - 1;
  const int lowest = __ffs(static_cast<int>(who)) - 1;
  return __shfl_sync(kAllLanes, first + found, lowest);
}

}  // namespace musicstar::cuda
