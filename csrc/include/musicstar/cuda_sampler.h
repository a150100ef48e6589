// The decoder on a GPU, sample by sample, for B independent lanes: what `cpu::Sampler` is on processors, with the same
// calls and the same promises. A signal in pieces gives the bits of one call, and a lane's result does not depend on
// the other lanes. All pointers of a call are the host's; a call ends with its work done. A sampler belongs to one
// thread at a time; several samplers, of one device or many, may be used by several threads.
//
// Errors of the device are thrown as `cuda::Error` (std::runtime_error), one line each; too little memory as
// `cuda::OutOfMemory`, which names the bytes. After an error, make a new sampler.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "musicstar/cuda_errors.h"
#include "musicstar/engine.h"
#include "musicstar/networks.h"

namespace musicstar::cuda {

// `Extras::interrupted` asked for an end. The sampler is whole: what has been decoded is in the call's outputs, and
// `position` has moved by as many samples.
struct Interrupted : Error {
  Interrupted() : Error("sampling was interrupted") {}
};

// Which kernels decode. kGeneral takes every size. The other two hold one layer in each multiprocessor: kLayers hands
// activations on through L2, kLayerClusters through the shared memory of neighbours (compute capability 9.0 and later).
enum class SamplerPath { kFastest, kGeneral, kLayers, kLayerClusters };

class Sampler : public cpu::Sampler {
 public:
  // Uniform numbers made on the device in place of Call::uniforms: lane b's draw at sample t of the call is
  // philox_uniform(seed, first_lane + b, first_index + t).
  struct Philox {
    std::uint64_t seed = 0, first_lane = 0, first_index = 0;
  };
  struct Extras {
    std::optional<Philox> philox;
    // Asked at least about every quarter of a second, in the calling thread: true ends the run with Interrupted. What
    // it throws ends the run in the same way.
    std::function<bool()> interrupted;
  };

  // Throws std::invalid_argument for a call that asks for nothing, or for two things, to feed: exactly one of uniforms,
  // forced codes and Philox, or temperature 0; and for a wrong number of frames.
  virtual void run(const Call& call, const Extras& extras) = 0;
  void run(const Call& call) final { run(call, Extras()); }

  // The kernels that run: "layer-per-SM clusters", "layer-per-SM" or "general", with the precision: "general fp32".
  virtual std::string kernel_name() const = 0;
  // How the lanes are spread: for instance "64 groups of 8 lanes in 3 pipelines of 41 blocks, clusters of 3".
  virtual std::string description() const = 0;
  // Of device memory: weights, state and scratch.
  virtual std::int64_t memory_bytes() const = 0;
  virtual std::int64_t lanes() const = 0;

  bool is_split() const final { return false; }
};

struct SamplerOptions {
  // fp32 is the plain equations and always takes the general kernel. bf16 rounds the weights of the products (and, but
  // for the general kernel, the activations that meet them); all sums are fp32. No int8.
  cpu::Precision precision = cpu::Precision::kBf16;
  SamplerPath path = SamplerPath::kFastest;
  // As cpu::make_sampler's: every lane is decoded twice, which takes twice the room.
  bool guided = false;
  // For tests: blocks of a cluster, pipelines side by side, and samples of one launch. 0 chooses.
  int cluster = 0, pipelines = 0;
  std::int64_t launch_samples = 0;
};

// The sizes that the kernels with one layer a multiprocessor have, whatever the device. Others take the general kernel.
inline bool has_layer_kernels(const DecoderSizes& sizes) {
  const std::int64_t channels = sizes.residual_channels;
  return (channels == 32 || channels == 64 || channels == 128) && sizes.skip_channels == channels &&
         sizes.kernel_size == 2;
}

// Throws std::invalid_argument for options or sizes that no kernel has, naming them, and Error where the device is
// missing, too old (below compute capability 8.0), too small for the path that is asked for, or out of memory.
std::unique_ptr<Sampler> make_sampler(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes,
                                      int device, const SamplerOptions& options = {});

}  // namespace musicstar::cuda
