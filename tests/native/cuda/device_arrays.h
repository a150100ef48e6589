// Arrays between tests and the GPU.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <vector>

#include "cuda/memory.h"
#include "devices.h"

namespace musicstar::tests {

inline float as_stored(float value, const float*) { return value; }
inline float as_stored(float value, const __nv_bfloat16*) { return __bfloat162float(__float2bfloat16(value)); }
inline void store(float value, float* to) { *to = value; }
inline void store(float value, __nv_bfloat16* to) { *to = __float2bfloat16(value); }
inline float as_float(float value) { return value; }
inline float as_float(__nv_bfloat16 value) { return __bfloat162float(value); }

// Rounded to what the GPU stores.
template <class T>
std::vector<float> rounded_to(const std::vector<float>& values) {
  std::vector<float> rounded;
  for (const float value : values) rounded.push_back(as_stored(value, static_cast<const T*>(nullptr)));
  return rounded;
}

template <class T>
cuda::DeviceBuffer<T> on_device(const std::vector<float>& values) {
  std::vector<T> stored(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) store(values[i], &stored[i]);
  cuda::DeviceBuffer<T> buffer(static_cast<std::int64_t>(values.size()));
  buffer.copy_from_host(stored.data(), buffer.size(), nullptr);
  cuda::check(cudaStreamSynchronize(nullptr), "copying");
  return buffer;
}

// Device memory full of 0xff, which is a NaN: what is read must have been written.
template <class T>
cuda::DeviceBuffer<T> poisoned(std::int64_t count) {
  cuda::DeviceBuffer<T> buffer(count);
  buffer.fill_bytes(0xff, nullptr);
  return buffer;
}

template <class T>
std::vector<float> from_device(const cuda::DeviceBuffer<T>& buffer) {
  std::vector<T> stored(static_cast<std::size_t>(buffer.size()));
  buffer.copy_to_host(stored.data(), buffer.size(), nullptr);
  cuda::check(cudaStreamSynchronize(nullptr), "copying");
  std::vector<float> values;
  for (const T value : stored) values.push_back(as_float(value));
  return values;
}

}  // namespace musicstar::tests
