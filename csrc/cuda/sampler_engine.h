// What the two kinds of sampler share, seen from csrc/cuda/sampler.cpp, which cuts a call into launches.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/sampler_condition.h"
#include "cuda/usable_device.h"
#include "musicstar/cuda_sampler.h"

namespace musicstar::cuda {

// One launch: its arrays lie on the device and hold its samples only, of the lanes that callers see. A guided engine
// decodes two lanes for each of these, side by side: an even one that hears the condition, and an odd one that hears
// zeros. They meet where the code is drawn, which both are fed. `decoded_lanes` counts both.
struct SamplerPiece {
  int samples = 0;
  std::int64_t position = 0;         // of its first sample
  int frames = 0;                    // that its samples touch
  const float* condition = nullptr;  // [lanes][frames][C]
  const float* uniforms = nullptr;   // [lanes][samples]; or
  const std::uint8_t* forced = nullptr;
  const Sampler::Philox* philox = nullptr;  // of the piece: first_index is its first sample's
  float temperature = 1.0f;
  float guidance = 1.0f;
  std::uint8_t* codes = nullptr;  // [lanes][samples]
  float* logits = nullptr;        // [lanes][samples][A], may be null
};

// Code frames whose projections a launch has room for, `values` floats each: a bounded amount of memory, and no more
// than the longest launch touches.
constexpr int kMostLaunchSamples = 16384;
inline int most_projected_frames(std::int64_t values, std::int64_t pool) {
  constexpr std::int64_t kValues = std::int64_t{1} << 25;  // 128 MiB
  return static_cast<int>(
      std::max<std::int64_t>(1, std::min<std::int64_t>(kValues / values, kMostLaunchSamples / pool + 2)));
}

// What both kernels are told of a piece in the same words.
template <class KernelCall>
void take_piece(KernelCall& call, const SamplerPiece& piece) {
  call.samples = piece.samples;
  call.position = piece.position;
  call.uniforms = piece.uniforms;
  call.forced = piece.forced;
  call.philox = piece.philox != nullptr;
  if (call.philox) {
    call.seed = piece.philox->seed;
    call.first_lane = piece.philox->first_lane;
    call.first_index = piece.philox->first_index;
  }
  call.temperature = piece.temperature;
  call.guidance = piece.guidance;
  call.codes = piece.codes;
  call.logits = piece.logits;
}

// Copies and waits, so that `values` may go.
template <typename T>
void copy_in(T* target, const std::vector<T>& values, cudaStream_t stream) {
  check(cudaMemcpyAsync(target, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream),
        "copying to the GPU");
  check(cudaStreamSynchronize(stream), "copying to the GPU");
}

// The condition's weights and biases of all layers and the head, as launch_sampler_condition reads them.
inline void copy_condition_in(float* condition_weights, float* condition_bias, const DecoderSizes& sizes,
                              const DecoderWeights& weights, cudaStream_t stream) {
  const std::int64_t rows = condition_rows(sizes);
  std::vector<float> packed(static_cast<std::size_t>(rows * sizes.condition_channels));
  std::vector<float> bias(static_cast<std::size_t>(rows));
  pack_condition(sizes, weights, packed.data(), bias.data());
  copy_in(condition_weights, packed, stream);
  copy_in(condition_bias, bias, stream);
}

class SamplerEngine {
 public:
  virtual ~SamplerEngine() = default;
  virtual void reset(float first_input, cudaStream_t stream) = 0;
  // Decodes the piece and waits for it.
  virtual void run(const SamplerPiece& piece, cudaStream_t stream) = 0;
  // Code frames whose projections a launch has room for.
  virtual int most_frames() const = 0;
  virtual std::string kernel_name() const = 0;
  virtual std::string description() const = 0;
  virtual std::int64_t memory_bytes() const = 0;
};

inline std::int64_t decoded_lanes(std::int64_t lanes, bool guided) { return guided ? 2 * lanes : lanes; }

// The device is the current one.
std::unique_ptr<SamplerEngine> make_general_engine(const DecoderSizes& sizes, const DecoderWeights& weights,
                                                   std::int64_t lanes, const UsableDevice& device,
                                                   const SamplerOptions& options, cudaStream_t stream);

// How the layers' blocks are placed. `blocks` 0: they do not fit this device.
struct PipelinePlacement {
  int cluster = 1, pipelines = 0, blocks = 0;
  int groups = 0;
};
PipelinePlacement place_pipelines(const DecoderSizes& sizes, std::int64_t lanes, const UsableDevice& device,
                                  const SamplerOptions& options);
std::unique_ptr<SamplerEngine> make_pipeline_engine(const DecoderSizes& sizes, const DecoderWeights& weights,
                                                    std::int64_t lanes, const UsableDevice& device,
                                                    const PipelinePlacement& placement, bool guided,
                                                    cudaStream_t stream);

}  // namespace musicstar::cuda
