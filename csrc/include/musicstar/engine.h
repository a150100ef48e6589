// The fast CPU engines. Both keep their state between calls, so that a signal in pieces gives exactly what it gives at
// once, and split their work over threads in a way that never changes a result.
#pragma once

#include <cstdint>
#include <memory>

#include "musicstar/isa.h"
#include "musicstar/networks.h"

namespace musicstar::cpu {

// The encoder over a stream: samples in, code frames out as soon as their whole context has been seen.
class Encoder {
 public:
  virtual ~Encoder() = default;
  // Takes n more codes. Writes the frames that have become certain to `frames` ([F][C], room for `frames_within(n)`)
  // and returns how many.
  virtual std::int64_t push(const std::uint8_t* codes, std::int64_t n, float* frames) = 0;
  // The end of the audio: zeros follow in every layer. One bounded piece of that work, to be called until it returns
  // false: the remaining whole frames are then in `frames` (room for `frames_at_end()`, the same at each call), and the
  // encoder is ready for a new stream.
  virtual bool finish_some(float* frames) = 0;
  virtual void reset() = 0;
  virtual std::int64_t frames_within(std::int64_t n) const = 0;
  virtual std::int64_t frames_at_end() const = 0;
  // Samples after a position that its feature depends on.
  virtual std::int64_t look_ahead() const = 0;
};

// Whether one lane is decoded by several threads together: where that is measured to be faster, always (for tests),
// never.
enum class Split { kWhereFaster, kAlways, kNever };

// The decoder, sample by sample, for B independent lanes. A guided one (kMostGuidance) keeps two states a lane, one
// that hears the condition and one that hears zeros; both are fed the one code that is drawn, or forced. Callers see B
// lanes.
class Sampler {
 public:
  // One call's input and output. Lane b's row of an array starts b rows in.
  struct Call {
    std::int64_t samples = 0;
    const float* condition = nullptr;      // [B][frames][C], the frames that these samples touch
    std::int64_t frames = 0;               // must be frames_touched(samples)
    const float* uniforms = nullptr;       // [B][samples], to draw; or
    const std::uint8_t* forced = nullptr;  // [B][samples], to be fed in place of draws
    float temperature = 1.0f;              // 0: the most likely code
    float guidance = 1.0f;                 // 0 .. kMostGuidance; 1 where the sampler is not guided
    std::uint8_t* codes = nullptr;         // [B][samples] out, may be null
    float* logits = nullptr;               // [B][samples][A] out, those that were drawn from; may be null
  };

  virtual ~Sampler() = default;
  virtual void run(const Call& call) = 0;
  virtual void reset(float first_input) = 0;
  virtual std::int64_t position() const = 0;
  virtual bool is_split() const = 0;
  // Frames that the next n samples touch: position / pool .. (position + n - 1) / pool.
  virtual std::int64_t frames_touched(std::int64_t n) const = 0;
};

std::unique_ptr<Encoder> make_encoder(const EncoderSizes& sizes, const EncoderWeights& weights, int threads, Isa isa,
                                      Precision precision = Precision::kFp32);
std::unique_ptr<Sampler> make_sampler(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes,
                                      int threads, Isa isa, Precision precision = Precision::kFp32,
                                      Split split = Split::kWhereFaster, bool guided = false);

}  // namespace musicstar::cpu
