// How a layer's input lies in device memory: rows of C channels in a ring, in one of two storages.
//
//   Fp32Rows   one plane of floats
//   Bf16Rows   two planes of bf16: `high` is x rounded, which is what the products take; `low` is the rest, x - high,
//   also
//              rounded. Together they hold x to 2^-17 of itself, so that residual sums over many layers lose nothing
//              that matters, and both planes cost no more bytes than one float.
#pragma once

#include <cstdint>

#include "cuda/instructions.cuh"

namespace musicstar::cuda {

struct Fp32Rows {
  using Operand = float;
  float* values = nullptr;

  static constexpr std::int64_t kBytes = 4;  // of a value
  static Fp32Rows at(void* memory, std::int64_t /*values*/) { return {static_cast<float*>(memory)}; }
  __device__ __forceinline__ float operand(std::int64_t i) const { return values[i]; }
  __device__ __forceinline__ float load(std::int64_t i) const { return values[i]; }
  __device__ __forceinline__ void store(std::int64_t i, float x) const { values[i] = x; }
};

struct Bf16Rows {
  using Operand = bf16;
  bf16* high = nullptr;
  bf16* low = nullptr;

  static constexpr std::int64_t kBytes = 4;
  static Bf16Rows at(void* memory, std::int64_t values) {
    return {static_cast<bf16*>(memory), static_cast<bf16*>(memory) + values};
  }
  __device__ __forceinline__ float operand(std::int64_t i) const { return __bfloat162float(high[i]); }
  __device__ __forceinline__ float load(std::int64_t i) const {
    return __bfloat162float(high[i]) + __bfloat162float(low[i]);
  }
  __device__ __forceinline__ void store(std::int64_t i, float x) const {
    high[i] = __float2bfloat16_rn(x);
    low[i] = __float2bfloat16_rn(x - __bfloat162float(high[i]));
  }
};

// Where the rows of a pass lie in a ring: row r, which may be negative or past the pass where a tap reaches, is ring
// row `first + r`, wrapped. Rows outside [begin, end) are not in the audio: zeros.
struct RingView {
  std::int64_t capacity = 0;
  std::int64_t first = 0;  // in [0, capacity)
  std::int64_t begin = 0, end = 0;

  __device__ __forceinline__ bool holds(std::int64_t row) const { return row >= begin && row < end; }
  // Of a row at most `capacity` away from the pass's first.
  __device__ __forceinline__ std::int64_t index(std::int64_t row) const {
    const std::int64_t place = first + row;
    return place < 0 ? place + capacity : place >= capacity ? place - capacity : place;
  }
};

__device__ __forceinline__ float operand_value(float x) { return x; }
__device__ __forceinline__ float operand_value(bf16 x) { return __bfloat162float(x); }

// Rounded where the products take bf16.
template <class Operand>
__host__ __device__ __forceinline__ Operand as_operand(float x) {
  if constexpr (sizeof(Operand) == sizeof(float)) {
    return x;
  } else {
    return __float2bfloat16_rn(x);
  }
}

}  // namespace musicstar::cuda
