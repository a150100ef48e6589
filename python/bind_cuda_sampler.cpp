#include "arguments.h"
#include "module.h"
#include "musicstar/cuda_sampler.h"
#include "one_caller.h"

namespace musicstar::bindings {

namespace {

cuda::SamplerPath path_named(const std::string& name) {
  if (name == "fastest") return cuda::SamplerPath::kFastest;
  if (name == "general") return cuda::SamplerPath::kGeneral;
  if (name == "layers") return cuda::SamplerPath::kLayers;
  if (name == "layer-clusters") return cuda::SamplerPath::kLayerClusters;
  throw py::value_error("kernels must be fastest, general, layers or layer-clusters, not '" + name + "'");
}

class CudaSampler {
 public:
  CudaSampler(const py::dict& sizes, const py::dict& weights, std::int64_t lanes, int device,
              const std::string& precision, const std::string& kernels, bool guided)
      : sizes_(decoder_sizes(sizes)),
        lanes_(checked_lanes(lanes)),
        device_(device),
        precision_(cpu::precision_named(precision)),
        guided_(guided) {
    const DecoderWeights views = decoder_weights(sizes_, weights);
    cuda::SamplerOptions options;
    options.precision = precision_;
    options.path = path_named(kernels);
    options.guided = guided;
    const py::gil_scoped_release released;
    engine_ = cuda::make_sampler(sizes_, views, lanes_, device, options);
  }

  py::array_t<std::uint8_t> sample(const py::array& condition, const py::array& uniforms, double temperature,
                                   double guidance) {
    const OneCaller caller(busy_);
    cuda::Sampler::Call call;
    call.samples = check_array<float>(uniforms, "uniforms", {lanes_, -1})[1];
    call.uniforms = data_of<float>(uniforms);
    call.temperature = checked_temperature(temperature);
    call.guidance = checked_guidance(guidance, guided_);
    check_uniforms(call.uniforms, lanes_ * call.samples);
    return drawn(call, condition, {});
  }

  py::array_t<std::uint8_t> draw(const py::array& condition, std::int64_t count, std::uint64_t seed,
                                 std::uint64_t first_lane, double temperature, double guidance) {
    const OneCaller caller(busy_);
    if (count < 0 || count > kMostSamples) {
      throw py::value_error("count must be between 0 and " + std::to_string(kMostSamples) + ", not " +
                            std::to_string(count));
    }
    cuda::Sampler::Call call;
    call.samples = count;
    call.temperature = checked_temperature(temperature);
    call.guidance = checked_guidance(guidance, guided_);
    cuda::Sampler::Extras extras;
    extras.philox = {seed, first_lane, static_cast<std::uint64_t>(engine_->position())};
    return drawn(call, condition, std::move(extras));
  }

  py::array_t<float> score(const py::array& condition, const py::array& codes, double guidance) {
    const OneCaller caller(busy_);
    cuda::Sampler::Call call;
    call.samples = check_array<std::uint8_t>(codes, "codes", {lanes_, -1})[1];
    call.forced = data_of<std::uint8_t>(codes);
    check_codes(call.forced, lanes_ * call.samples, sizes_.classes);
    call.guidance = checked_guidance(guidance, guided_);
    take_condition(call, condition);
    py::array_t<float> logits({lanes_, call.samples, sizes_.classes});
    call.logits = logits.mutable_data();
    run(call, {});
    return logits;
  }

  void reset(double first_input) {
    const OneCaller caller(busy_);
    engine_->reset(static_cast<float>(first_input));
  }
  std::int64_t position() const { return engine_->position(); }
  std::int64_t lanes() const { return lanes_; }
  bool guided() const { return guided_; }
  int device() const { return device_; }
  std::string precision() const { return cpu::name_of(precision_); }
  std::string kernel() const { return engine_->kernel_name(); }
  std::string description() const { return engine_->description(); }
  std::int64_t memory_bytes() const { return engine_->memory_bytes(); }

 private:
  static constexpr std::int64_t kMostSamples = std::int64_t{1} << 31;  // of a lane in one call

  void take_condition(cuda::Sampler::Call& call, const py::array& condition) const {
    call.frames = engine_->frames_touched(call.samples);
    check_array<float>(condition, "condition", {lanes_, call.frames, sizes_.condition_channels});
    call.condition = data_of<float>(condition);
  }

  py::array_t<std::uint8_t> drawn(cuda::Sampler::Call& call, const py::array& condition, cuda::Sampler::Extras extras) {
    take_condition(call, condition);
    py::array_t<std::uint8_t> codes({lanes_, call.samples});
    call.codes = codes.mutable_data();
    run(call, std::move(extras));
    return codes;
  }

  // With the interpreter's lock released, but for a look at signals now and then: Ctrl-C ends the call within a second,
  // and leaves the sampler where it was interrupted.
  void run(const cuda::Sampler::Call& call, cuda::Sampler::Extras extras) {
    extras.interrupted = [] {
      const py::gil_scoped_acquire acquired;
      return PyErr_CheckSignals() != 0;
    };
    try {
      const py::gil_scoped_release released;
      engine_->run(call, extras);
    } catch (const cuda::Interrupted&) {
      throw py::error_already_set();  // what the signal's handler raised
    }
  }

  DecoderSizes sizes_;
  std::int64_t lanes_;
  int device_;
  cpu::Precision precision_;
  bool guided_;
  std::unique_ptr<cuda::Sampler> engine_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_cuda_sampler(py::module_& module) {
  py::class_<CudaSampler>(module, "CudaSampler")
      .def(
          py::init<const py::dict&, const py::dict&, std::int64_t, int, const std::string&, const std::string&, bool>(),
          py::arg("sizes"), py::arg("weights"), py::arg("lanes") = 1, py::arg("device") = 0,
          py::arg("precision") = "bf16", py::arg("kernels") = "fastest", py::arg("guided") = false)
      .def("sample", &CudaSampler::sample, py::arg("condition"), py::arg("uniforms"), py::arg("temperature") = 1.0,
           py::arg("guidance") = 1.0)
      .def("draw", &CudaSampler::draw, py::arg("condition"), py::arg("count"), py::arg("seed"), py::arg("first_lane"),
           py::arg("temperature") = 1.0, py::arg("guidance") = 1.0)
      .def("score", &CudaSampler::score, py::arg("condition"), py::arg("codes"), py::arg("guidance") = 1.0)
      .def("reset", &CudaSampler::reset, py::arg("first_input") = input_of_code(kStartCode))
      .def_property_readonly("position", &CudaSampler::position)
      .def_property_readonly("lanes", &CudaSampler::lanes)
      .def_property_readonly("guided", &CudaSampler::guided)
      .def_property_readonly("device", &CudaSampler::device)
      .def_property_readonly("precision", &CudaSampler::precision)
      .def_property_readonly("kernel", &CudaSampler::kernel)
      .def_property_readonly("description", &CudaSampler::description)
      .def_property_readonly("memory_bytes", &CudaSampler::memory_bytes);
}

}  // namespace musicstar::bindings
