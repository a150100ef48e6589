#include "arguments.h"
#include "module.h"
#include "musicstar/engine.h"
#include "one_caller.h"

namespace musicstar::bindings {

namespace {

cpu::Split split_named(const std::string& name) {
  if (name == "auto") return cpu::Split::kWhereFaster;
  if (name == "always") return cpu::Split::kAlways;
  if (name == "never") return cpu::Split::kNever;
  throw py::value_error("split must be auto, always or never, not '" + name + "'");
}

class Sampler {
 public:
  Sampler(const py::dict& sizes, const py::dict& weights, std::int64_t lanes, int threads, const std::string& isa,
          const std::string& precision, const std::string& split, bool guided)
      : sizes_(decoder_sizes(sizes)),
        lanes_(checked_lanes(lanes)),
        isa_(cpu::select_isa(isa)),
        precision_(cpu::precision_named(precision)),
        guided_(guided) {
    engine_ = cpu::make_sampler(sizes_, decoder_weights(sizes_, weights), lanes_, checked_threads(threads), isa_,
                                precision_, split_named(split), guided);
  }

  py::array_t<std::uint8_t> sample(const py::array& condition, const py::array& uniforms, double temperature,
                                   double guidance) {
    const OneCaller caller(busy_);
    cpu::Sampler::Call call;
    call.samples = check_array<float>(uniforms, "uniforms", {lanes_, -1})[1];
    call.uniforms = data_of<float>(uniforms);
    call.temperature = checked_temperature(temperature);
    call.guidance = checked_guidance(guidance, guided_);
    check_uniforms(call.uniforms, lanes_ * call.samples);
    take_condition(call, condition);
    py::array_t<std::uint8_t> codes({lanes_, call.samples});
    call.codes = codes.mutable_data();
    const py::gil_scoped_release released;
    engine_->run(call);
    return codes;
  }

  py::array_t<float> score(const py::array& condition, const py::array& codes, double guidance) {
    const OneCaller caller(busy_);
    cpu::Sampler::Call call;
    call.samples = check_array<std::uint8_t>(codes, "codes", {lanes_, -1})[1];
    call.forced = data_of<std::uint8_t>(codes);
    check_codes(call.forced, lanes_ * call.samples, sizes_.classes);
    call.guidance = checked_guidance(guidance, guided_);
    take_condition(call, condition);
    py::array_t<float> logits({lanes_, call.samples, sizes_.classes});
    call.logits = logits.mutable_data();
    const py::gil_scoped_release released;
    engine_->run(call);
    return logits;
  }

  void reset(double first_input) {
    const OneCaller caller(busy_);
    engine_->reset(static_cast<float>(first_input));
  }
  std::int64_t position() const { return engine_->position(); }
  std::int64_t lanes() const { return lanes_; }
  bool guided() const { return guided_; }
  bool is_split() const { return engine_->is_split(); }
  std::string isa() const { return cpu::name_of(isa_); }
  std::string precision() const { return cpu::name_of(precision_); }

 private:
  void take_condition(cpu::Sampler::Call& call, const py::array& condition) const {
    call.frames = engine_->frames_touched(call.samples);
    check_array<float>(condition, "condition", {lanes_, call.frames, sizes_.condition_channels});
    call.condition = data_of<float>(condition);
  }

  DecoderSizes sizes_;
  std::int64_t lanes_;
  cpu::Isa isa_;
  cpu::Precision precision_;
  bool guided_;
  std::unique_ptr<cpu::Sampler> engine_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_sampler(py::module_& module) {
  py::class_<Sampler>(module, "Sampler")
      .def(py::init<const py::dict&, const py::dict&, std::int64_t, int, const std::string&, const std::string&,
                    const std::string&, bool>(),
           py::arg("sizes"), py::arg("weights"), py::arg("lanes") = 1, py::arg("threads") = 1, py::arg("isa") = "",
           py::arg("precision") = "fp32", py::arg("split") = "auto", py::arg("guided") = false)
      .def("sample", &Sampler::sample, py::arg("condition"), py::arg("uniforms"), py::arg("temperature") = 1.0,
           py::arg("guidance") = 1.0)
      .def("score", &Sampler::score, py::arg("condition"), py::arg("codes"), py::arg("guidance") = 1.0)
      .def("reset", &Sampler::reset, py::arg("first_input") = input_of_code(kStartCode))
      .def_property_readonly("position", &Sampler::position)
      .def_property_readonly("lanes", &Sampler::lanes)
      .def_property_readonly("guided", &Sampler::guided)
      .def_property_readonly("is_split", &Sampler::is_split)
      .def_property_readonly("isa", &Sampler::isa)
      .def_property_readonly("precision", &Sampler::precision);
}

}  // namespace musicstar::bindings
