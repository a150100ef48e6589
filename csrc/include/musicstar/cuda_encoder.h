// The encoder on a GPU, as a stream: what `cpu::Encoder` is on processors, with the same calls and the same promises.
// A signal in pieces gives the bits of one call, whatever the pieces; memory depends on the receptive field, not on
// the length; an encoder belongs to one thread at a time, and two encoders run side by side on their own streams.
//
// Every call ends with its work done. Errors of the device are thrown as `cuda::Error` (std::runtime_error), one line
// each; too little memory as `cuda::OutOfMemory`, which names the bytes. After an error, `reset` starts afresh.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "musicstar/engine.h"
#include "musicstar/networks.h"

namespace musicstar::cuda {

class Encoder : public cpu::Encoder {
 public:
  // Which kernels run its layers: "fused bf16 tensor cores" (32, 64 or 128 channels, 3 taps, bf16), or "general fp32"
  // or "general bf16" (any size).
  virtual std::string kernel_name() const = 0;
  // Samples that travel through the layers together; longer pieces are cut into these.
  virtual std::int64_t chunk() const = 0;
  // Of device memory: weights, windows and scratch.
  virtual std::int64_t memory_bytes() const = 0;
};

struct EncoderOptions {
  // fp32 is the plain equations; in bf16 the operands of the products are rounded and all sums are fp32. No int8.
  cpu::Precision precision = cpu::Precision::kBf16;
  // Samples that travel through the layers together; 0: as many as 1 GiB of windows allows, up to 32768. Only speed and
  // memory depend on it.
  std::int64_t chunk = 0;
  // The general kernels even where the fused one exists: for tests and comparison.
  bool general = false;
};

// Throws Error where the device is missing, too old (below compute capability 8.0) or out of memory, and
// std::invalid_argument for a precision or chunk that it does not have.
std::unique_ptr<Encoder> make_encoder(const EncoderSizes& sizes, const EncoderWeights& weights, int device,
                                      const EncoderOptions& options = {});

}  // namespace musicstar::cuda
