#include "engine_runs.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "musicstar/reference.h"

namespace musicstar::tests {

std::vector<cpu::Isa> tested_isas() {
  const char* named = std::getenv("MUSICSTAR_TEST_ISAS");
  std::istringstream names(named == nullptr ? "" : named);
  std::vector<cpu::Isa> isas;
  for (std::string name; names >> name;) isas.push_back(cpu::select_isa(name));  // throws where it is not here
  return isas.empty() ? cpu::supported_isas() : isas;
}

float rounded_to_bf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

double largest_difference(const std::vector<float>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(found[i]) - expected[i]);
    if (std::isnan(difference)) return difference;  // below no tolerance
    largest = std::max(largest, difference);
  }
  return largest;
}

std::vector<float> encode(cpu::Encoder& encoder, const EncoderSizes& sizes, const std::vector<std::uint8_t>& codes,
                          const std::vector<std::int64_t>& cuts) {
  const auto total = static_cast<std::int64_t>(codes.size());
  std::vector<float> frames;
  std::vector<std::int64_t> ends = cuts;
  ends.push_back(total);
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    // Exactly the room that is asked for, so that the address sanitizer sees a frame too many.
    std::vector<float> piece(encoder.frames_within(end - begin) * sizes.code_channels);
    const std::int64_t written = encoder.push(codes.data() + begin, end - begin, piece.data());
    REQUIRE(written * sizes.code_channels <= static_cast<std::int64_t>(piece.size()));
    frames.insert(frames.end(), piece.begin(), piece.begin() + written * sizes.code_channels);
    begin = end;
  }
  std::vector<float> rest(encoder.frames_at_end() * sizes.code_channels);
  while (encoder.finish_some(rest.data())) {
  }
  frames.insert(frames.end(), rest.begin(), rest.end());
  return frames;
}

DecoderInput::DecoderInput(const DecoderSizes& decoder_sizes, std::int64_t lane_count, std::int64_t sample_count)
    : sizes(decoder_sizes),
      lanes(lane_count),
      samples(sample_count),
      frames((sample_count + decoder_sizes.pool - 1) / decoder_sizes.pool),
      codes(random_codes(lane_count * sample_count, 11, decoder_sizes.classes)),
      uniforms(random_uniforms(lane_count * sample_count, 12)),
      condition(random_floats(lane_count * frames * decoder_sizes.condition_channels, 13)) {}

const float* DecoderInput::condition_at(std::int64_t lane, std::int64_t sample) const {
  return condition.data() + (lane * frames + sample / sizes.pool) * sizes.condition_channels;
}

Decoded decode(cpu::Sampler& sampler, std::int64_t lanes, const DecoderInput& input, Feeding feeding,
               const std::vector<std::int64_t>& cuts, std::int64_t first_lane, float temperature, float guidance) {
  const std::int64_t classes = input.sizes.classes, channels = input.sizes.condition_channels;
  Decoded decoded;
  decoded.codes.resize(lanes * input.samples);
  decoded.logits.resize(lanes * input.samples * classes);
  std::vector<std::int64_t> ends = cuts;
  ends.push_back(input.samples);
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    REQUIRE(sampler.position() == begin);
    const std::int64_t count = end - begin;
    cpu::Sampler::Call call;
    call.samples = count;
    call.frames = sampler.frames_touched(count);
    call.temperature = temperature;
    call.guidance = guidance;
    // A call's arrays hold its samples only: each lane's piece is copied together.
    std::vector<float> condition, uniforms;
    std::vector<std::uint8_t> forced;
    for (std::int64_t b = first_lane; b < first_lane + lanes; ++b) {
      if (count > 0) {
        const float* frame = input.condition_at(b, begin);
        condition.insert(condition.end(), frame, frame + call.frames * channels);
      }
      const std::int64_t at = b * input.samples;
      uniforms.insert(uniforms.end(), input.uniforms.begin() + at + begin, input.uniforms.begin() + at + end);
      forced.insert(forced.end(), input.codes.begin() + at + begin, input.codes.begin() + at + end);
    }
    std::vector<std::uint8_t> codes(lanes * count);
    std::vector<float> logits(lanes * count * classes);
    call.condition = condition.data();
    if (feeding == Feeding::kDrawn) {
      call.uniforms = uniforms.data();
    } else {
      call.forced = forced.data();
    }
    call.codes = codes.data();
    call.logits = logits.data();
    sampler.run(call);
    for (std::int64_t b = 0; b < lanes; ++b) {
      std::copy_n(codes.begin() + b * count, count, decoded.codes.begin() + b * input.samples + begin);
      std::copy_n(logits.begin() + b * count * classes, count * classes,
                  decoded.logits.begin() + (b * input.samples + begin) * classes);
    }
    begin = end;
  }
  return decoded;
}

namespace {

// `next`: the logits for a condition frame; `feed`: what the sample turned out to be.
template <class Next, class Feed>
std::vector<double> forced_logits(const DecoderInput& input, std::int64_t lane, const Next& next, const Feed& feed) {
  std::vector<double> logits;
  for (std::int64_t t = 0; t < input.samples; ++t) {
    const std::vector<double> of_sample = next(input.condition_at(lane, t));
    logits.insert(logits.end(), of_sample.begin(), of_sample.end());
    feed(input.codes[lane * input.samples + t]);
  }
  return logits;
}

template <class Next, class Feed>
std::vector<std::uint8_t> drawn_codes(const DecoderInput& input, std::int64_t lane, float temperature, const Next& next,
                                      const Feed& feed) {
  std::vector<std::uint8_t> codes;
  for (std::int64_t t = 0; t < input.samples; ++t) {
    const std::vector<double> logits = next(input.condition_at(lane, t));
    const auto drawn_with = [&](double uniform) {
      return reference::draw(logits.data(), input.sizes.classes, uniform, static_cast<double>(temperature));
    };
    const double uniform = static_cast<double>(input.uniforms[lane * input.samples + t]);
    // A uniform nearer to a border between two codes than single precision can tell would test luck.
    REQUIRE(drawn_with(uniform - 1e-6) == drawn_with(uniform + 1e-6));
    codes.push_back(static_cast<std::uint8_t>(drawn_with(uniform)));
    feed(codes.back());
  }
  return codes;
}

}  // namespace

std::vector<double> reference_logits(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane) {
  reference::Sampler sampler(decoder.sizes, decoder.weights);
  return forced_logits(
      input, lane, [&](const float* frame) { return sampler.next_logits(frame); },
      [&](std::uint8_t code) { sampler.feed(code); });
}

std::vector<std::uint8_t> reference_draws(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane,
                                          float temperature) {
  reference::Sampler sampler(decoder.sizes, decoder.weights);
  return drawn_codes(
      input, lane, temperature, [&](const float* frame) { return sampler.next_logits(frame); },
      [&](std::uint8_t code) { sampler.feed(code); });
}

std::vector<double> guided_logits(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane,
                                  float guidance) {
  reference::GuidedSampler sampler(decoder.sizes, decoder.weights);
  return forced_logits(
      input, lane, [&](const float* frame) { return sampler.next_logits(frame, static_cast<double>(guidance)); },
      [&](std::uint8_t code) { sampler.feed(code); });
}

std::vector<std::uint8_t> guided_draws(const RandomDecoder& decoder, const DecoderInput& input, std::int64_t lane,
                                       float temperature, float guidance) {
  reference::GuidedSampler sampler(decoder.sizes, decoder.weights);
  return drawn_codes(
      input, lane, temperature,
      [&](const float* frame) { return sampler.next_logits(frame, static_cast<double>(guidance)); },
      [&](std::uint8_t code) { sampler.feed(code); });
}

}  // namespace musicstar::tests
