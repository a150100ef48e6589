#include "arguments.h"
#include "module.h"
#include "musicstar/engine.h"
#include "one_caller.h"

namespace musicstar::bindings {

namespace {

class Encoder {
 public:
  Encoder(const py::dict& sizes, const py::dict& weights, int threads, const std::string& isa,
          const std::string& precision)
      : sizes_(encoder_sizes(sizes)), isa_(cpu::select_isa(isa)), precision_(cpu::precision_named(precision)) {
    engine_ = cpu::make_encoder(sizes_, encoder_weights(sizes_, weights), checked_threads(threads), isa_, precision_);
  }

  py::array_t<float> push(const py::array& codes) {
    const OneCaller caller(busy_);
    const std::int64_t n = check_array<std::uint8_t>(codes, "codes", {-1})[0];
    py::array_t<float> frames({engine_->frames_within(n), sizes_.code_channels});
    float* out = frames.mutable_data();
    std::int64_t written = 0;
    {
      const py::gil_scoped_release released;
      written = engine_->push(data_of<std::uint8_t>(codes), n, out);
    }
    return first_rows(frames, written);
  }

  py::array_t<float> finish() {
    const OneCaller caller(busy_);
    py::array_t<float> frames({engine_->frames_at_end(), sizes_.code_channels});
    float* out = frames.mutable_data();
    for (bool more = true; more;) {
      {
        const py::gil_scoped_release released;
        more = engine_->finish_some(out);
      }
      if (PyErr_CheckSignals() != 0) {  // Ctrl-C need not wait for a long receptive field
        engine_->reset();
        throw py::error_already_set();
      }
    }
    return frames;
  }

  void reset() {
    const OneCaller caller(busy_);
    engine_->reset();
  }
  std::string isa() const { return cpu::name_of(isa_); }
  std::string precision() const { return cpu::name_of(precision_); }
  std::int64_t look_ahead() const { return engine_->look_ahead(); }

 private:
  py::array_t<float> first_rows(const py::array_t<float>& frames, std::int64_t rows) const {
    py::array_t<float> copy({rows, sizes_.code_channels});
    std::copy_n(frames.data(), rows * sizes_.code_channels, copy.mutable_data());
    return copy;
  }

  EncoderSizes sizes_;
  cpu::Isa isa_;
  cpu::Precision precision_;
  std::unique_ptr<cpu::Encoder> engine_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_encoder(py::module_& module) {
  py::class_<Encoder>(module, "Encoder")
      .def(py::init<const py::dict&, const py::dict&, int, const std::string&, const std::string&>(), py::arg("sizes"),
           py::arg("weights"), py::arg("threads") = 1, py::arg("isa") = "", py::arg("precision") = "fp32")
      .def("push", &Encoder::push, py::arg("codes"))
      .def("finish", &Encoder::finish)
      .def("reset", &Encoder::reset)
      .def_property_readonly("isa", &Encoder::isa)
      .def_property_readonly("precision", &Encoder::precision)
      .def_property_readonly("look_ahead", &Encoder::look_ahead);
}

}  // namespace musicstar::bindings
