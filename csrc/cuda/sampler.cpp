// The sampler as the rest of the project sees it: calls of any length, cut into launches of bounded time and memory.
//
// A launch's samples are chosen from how long the last one took, so that a caller who wants to stop is heard about
// every quarter of a second; results do not depend on the cuts.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "cuda/memory.h"
#include "cuda/sampler_engine.h"
#include "cuda/usable_device.h"
#include "musicstar/cuda_sampler.h"

namespace musicstar::cuda {

namespace {

constexpr double kShortLaunch = 0.05, kLongLaunch = 0.2;  // seconds
constexpr int kFirstLaunchSamples = 64;
constexpr std::int64_t kMostLogitBytes = std::int64_t{64} << 20;
constexpr std::int64_t kMostLanes = 65536;

template <typename T>
T* with_room(DeviceBuffer<T>& buffer, std::int64_t count) {
  if (buffer.size() < count) {
    buffer = DeviceBuffer<T>();  // the old one goes first
    buffer = DeviceBuffer<T>(count);
  }
  return buffer.data();
}

class LaunchingSampler final : public Sampler {
 public:
  using Sampler::run;

  // The device is the current one.
  LaunchingSampler(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes,
                   const UsableDevice& device, const SamplerOptions& options)
      : sizes_(sizes),
        lanes_(lanes),
        guided_(options.guided),
        device_(device.index),
        fixed_samples_(options.launch_samples) {
    const bool pipelines_possible = has_layer_kernels(sizes) && options.precision == cpu::Precision::kBf16;
    PipelinePlacement placement;
    if (options.path != SamplerPath::kGeneral && pipelines_possible) {
      placement = place_pipelines(sizes, lanes, device, options);
    }
    if (placement.blocks != 0) {
      engine_ = make_pipeline_engine(sizes, weights, lanes, device, placement, options.guided, stream_);
    } else if (options.path == SamplerPath::kFastest || options.path == SamplerPath::kGeneral) {
      engine_ = make_general_engine(sizes, weights, lanes, device, options, stream_);
    } else {
      throw Error("GPU " + std::to_string(device.index) + " has no room for one layer a multiprocessor (" +
                  std::to_string(sizes.depth() + 1) + " blocks at the same time" +
                  (options.path == SamplerPath::kLayerClusters ? ", in clusters)" : ")"));
    }
    reset(input_of_code(kStartCode));
  }

  void run(const Call& call, const Extras& extras) override {
    check_call(call, extras);
    const DeviceGuard guard(device_);
    const std::int64_t first_frame = position_ / sizes_.pool;
    for (std::int64_t done = 0; done < call.samples;) {
      const int samples = static_cast<int>(std::min(call.samples - done, launch_samples(call.logits != nullptr)));
      const auto start = std::chrono::steady_clock::now();
      run_piece(call, extras, done, samples, first_frame);
      learn(samples, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      done += samples;
      if (done < call.samples && extras.interrupted && extras.interrupted()) throw Interrupted();
    }
  }

  void reset(float first_input) override {
    const DeviceGuard guard(device_);
    engine_->reset(first_input, stream_);
    position_ = 0;
  }

  std::int64_t position() const override { return position_; }
  std::int64_t frames_touched(std::int64_t n) const override {
    return n == 0 ? 0 : (position_ + n - 1) / sizes_.pool - position_ / sizes_.pool + 1;
  }
  std::string kernel_name() const override { return engine_->kernel_name(); }
  std::string description() const override { return engine_->description(); }
  std::int64_t lanes() const override { return lanes_; }
  std::int64_t memory_bytes() const override {
    return engine_->memory_bytes() + static_cast<std::int64_t>(condition_.bytes() + uniforms_.bytes() +
                                                               forced_.bytes() + codes_.bytes() + logits_.bytes());
  }

 private:
  void check_call(const Call& call, const Extras& extras) const {
    const auto refuse = [](const std::string& why) { throw std::invalid_argument("sampling on a GPU: " + why); };
    if (call.samples < 0) refuse("a negative number of samples");
    if (!(call.temperature >= 0.0f) || !std::isfinite(call.temperature)) refuse("the temperature must be 0 or more");
    if (!(call.guidance >= 0.0f && call.guidance <= kMostGuidance)) refuse("the guidance must be between 0 and 10");
    if (!guided_ && call.guidance != 1.0f) refuse("guidance other than 1 needs a sampler made for it");
    const int sources = (call.uniforms != nullptr) + (call.forced != nullptr) + extras.philox.has_value();
    if (sources > 1) refuse("uniforms, forced codes and Philox exclude each other");
    if (sources == 0 && call.temperature > 0.0f && call.samples > 0) {
      refuse("nothing to draw with: neither uniforms, nor forced codes, nor Philox");
    }
    if (call.frames != frames_touched(call.samples)) {
      refuse(std::to_string(call.frames) + " condition frames, where these samples touch " +
             std::to_string(frames_touched(call.samples)));
    }
    if (call.samples > 0 && call.condition == nullptr) refuse("no condition");
  }

  // Samples of the next launch.
  std::int64_t launch_samples(bool with_logits) const {
    std::int64_t samples =
        fixed_samples_ > 0 ? std::min<std::int64_t>(fixed_samples_, kMostLaunchSamples) : usual_samples_;
    if (with_logits) {
      const std::int64_t of_sample = lanes_ * sizes_.classes * static_cast<std::int64_t>(sizeof(float));
      samples = std::min(samples, kMostLogitBytes / of_sample);
    }
    if (sizes_.pool < kMostLaunchSamples) {  // else two frames always suffice
      samples = std::min(samples, engine_->most_frames() * sizes_.pool - position_ % sizes_.pool);
    } else if (engine_->most_frames() == 1) {
      samples = std::min(samples, sizes_.pool - position_ % sizes_.pool);
    }
    return std::max<std::int64_t>(samples, 1);
  }

  void learn(int samples, double seconds) {
    if (seconds > kLongLaunch) {
      usual_samples_ = std::max(1, static_cast<int>(samples * kShortLaunch / seconds));
    } else if (seconds < kShortLaunch && samples == usual_samples_) {
      usual_samples_ = std::min(2 * usual_samples_, kMostLaunchSamples);
    }
  }

  // Samples done .. done + samples - 1 of a call that began in frame `first_frame`.
  void run_piece(const Call& call, const Extras& extras, std::int64_t done, int samples, std::int64_t first_frame) {
    const std::int64_t frames = frames_touched(samples), count = lanes_ * samples;
    SamplerPiece piece;
    piece.samples = samples;
    piece.position = position_;
    piece.frames = static_cast<int>(frames);
    piece.temperature = call.temperature;
    piece.guidance = call.guidance;
    piece.condition = sent(condition_, call.condition, call.frames, position_ / sizes_.pool - first_frame, frames,
                           sizes_.condition_channels, kept_condition_);
    if (call.uniforms != nullptr)
      piece.uniforms = sent(uniforms_, call.uniforms, call.samples, done, samples, 1, kept_uniforms_);
    if (call.forced != nullptr) piece.forced = sent(forced_, call.forced, call.samples, done, samples, 1, kept_forced_);
    Philox philox;
    if (extras.philox) {
      philox = *extras.philox;
      philox.first_index += static_cast<std::uint64_t>(done);
      piece.philox = &philox;
    }
    piece.codes = with_room(codes_, count);
    if (call.logits != nullptr) piece.logits = with_room(logits_, count * sizes_.classes);
    engine_->run(piece, stream_);
    position_ += samples;
    if (call.codes != nullptr) fetch(codes_, call.codes, call.samples, done, samples, 1);
    if (call.logits != nullptr) fetch(logits_, call.logits, call.samples, done, samples, sizes_.classes);
  }

  // Rows begin .. begin + count - 1 of every lane's `total` rows of `width`, on the device, lane after lane. `kept` is
  // the host's copy, which stays until the stream has read it.
  template <typename T>
  const T* sent(DeviceBuffer<T>& buffer, const T* source, std::int64_t total, std::int64_t begin, std::int64_t count,
                std::int64_t width, std::vector<T>& kept) {
    kept.resize(static_cast<std::size_t>(lanes_ * count * width));
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
      std::copy_n(source + (lane * total + begin) * width, count * width, kept.data() + lane * count * width);
    }
    T* const target = with_room(buffer, lanes_ * count * width);
    buffer.copy_from_host(kept.data(), lanes_ * count * width, stream_);
    return target;
  }

  template <typename T>
  void fetch(const DeviceBuffer<T>& buffer, T* target, std::int64_t total, std::int64_t begin, std::int64_t count,
             std::int64_t width) {
    std::vector<T> rows(static_cast<std::size_t>(lanes_ * count * width));
    buffer.copy_to_host(rows.data(), lanes_ * count * width, stream_);
    stream_.synchronize();
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
      std::copy_n(rows.data() + lane * count * width, count * width, target + (lane * total + begin) * width);
    }
  }

  DecoderSizes sizes_;
  std::int64_t lanes_;
  bool guided_;
  int device_;
  std::int64_t fixed_samples_;
  Stream stream_;
  std::unique_ptr<SamplerEngine> engine_;
  std::int64_t position_ = 0;
  int usual_samples_ = kFirstLaunchSamples;
  DeviceBuffer<float> condition_, uniforms_, logits_;
  DeviceBuffer<std::uint8_t> forced_, codes_;
  std::vector<float> kept_condition_, kept_uniforms_;
  std::vector<std::uint8_t> kept_forced_;
};

void check_options(const DecoderSizes& sizes, std::int64_t lanes, const SamplerOptions& options) {
  const auto refuse = [](const std::string& why) { throw std::invalid_argument("the sampler on a GPU " + why); };
  if (options.precision == cpu::Precision::kInt8) refuse("has fp32 and bf16, not int8");
  if (lanes < 1 || lanes > kMostLanes) {
    refuse("takes 1 to " + std::to_string(kMostLanes) + " lanes, not " + std::to_string(lanes));
  }
  if (sizes.layers > 24) refuse("takes dilations up to 2^23, not 2^" + std::to_string(sizes.layers - 1));
  if (sizes.classes < 1 || sizes.classes > 256) refuse("takes 1 to 256 classes, not " + std::to_string(sizes.classes));
  const bool layers = options.path == SamplerPath::kLayers || options.path == SamplerPath::kLayerClusters;
  if (layers && options.precision != cpu::Precision::kBf16) refuse("has one layer a multiprocessor in bf16 only");
  if (layers && !has_layer_kernels(sizes)) {
    refuse(
        "has one layer a multiprocessor for 32, 64 or 128 residual channels, as many skip channels and kernel size 2");
  }
  if (options.launch_samples < 0 || options.cluster < 0 || options.cluster > 16 || options.pipelines < 0) {
    refuse("cannot be forced to such a placement");
  }
}

}  // namespace

std::unique_ptr<Sampler> make_sampler(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes,
                                      int device, const SamplerOptions& options) {
  check_options(sizes, lanes, options);
  const UsableDevice usable = usable_device(device);
  const DeviceGuard guard(device);
  return std::make_unique<LaunchingSampler>(sizes, weights, lanes, usable, options);
}

}  // namespace musicstar::cuda
