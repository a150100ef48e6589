#include <algorithm>

#include "arguments.h"
#include "module.h"
#include "musicstar/cuda_encoder.h"
#include "one_caller.h"

namespace musicstar::bindings {

namespace {

bool general_named(const std::string& kernels) {
  if (kernels == "fastest") return false;
  if (kernels == "general") return true;
  throw py::value_error("kernels must be fastest or general, not '" + kernels + "'");
}

class CudaEncoder {
 public:
  CudaEncoder(const py::dict& sizes, const py::dict& weights, int device, const std::string& precision,
              const std::string& kernels)
      : sizes_(encoder_sizes(sizes)), device_(device), precision_(cpu::precision_named(precision)) {
    const EncoderWeights views = encoder_weights(sizes_, weights);
    cuda::EncoderOptions options;
    options.precision = precision_;
    options.general = general_named(kernels);
    const py::gil_scoped_release released;
    engine_ = cuda::make_encoder(sizes_, views, device, options);
  }

  py::array_t<float> push(const py::array& codes) {
    const OneCaller caller(busy_);
    const std::int64_t n = check_array<std::uint8_t>(codes, "codes", {-1})[0];
    py::array_t<float> frames({engine_->frames_within(n), sizes_.code_channels});
    const auto* in = data_of<std::uint8_t>(codes);
    float* out = frames.mutable_data();
    std::int64_t written = 0;
    for (std::int64_t done = 0; done < n; done += engine_->chunk()) {
      const std::int64_t count = std::min(engine_->chunk(), n - done);
      {
        const py::gil_scoped_release released;
        written += engine_->push(in + done, count, out + written * sizes_.code_channels);
      }
      stop_if_interrupted();
    }
    py::array_t<float> certain({written, sizes_.code_channels});
    std::copy_n(out, written * sizes_.code_channels, certain.mutable_data());
    return certain;
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
      stop_if_interrupted();
    }
    return frames;
  }

  void reset() {
    const OneCaller caller(busy_);
    engine_->reset();
  }
  int device() const { return device_; }
  std::string precision() const { return cpu::name_of(precision_); }
  std::string kernel() const { return engine_->kernel_name(); }
  std::int64_t memory_bytes() const { return engine_->memory_bytes(); }
  std::int64_t look_ahead() const { return engine_->look_ahead(); }

 private:
  // Ctrl-C waits for one chunk, a few milliseconds.
  void stop_if_interrupted() {
    if (PyErr_CheckSignals() == 0) return;
    engine_->reset();
    throw py::error_already_set();
  }

  EncoderSizes sizes_;
  int device_;
  cpu::Precision precision_;
  std::unique_ptr<cuda::Encoder> engine_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_cuda_encoder(py::module_& module) {
  py::class_<CudaEncoder>(module, "CudaEncoder")
      .def(py::init<const py::dict&, const py::dict&, int, const std::string&, const std::string&>(), py::arg("sizes"),
           py::arg("weights"), py::arg("device") = 0, py::arg("precision") = "bf16", py::arg("kernels") = "fastest")
      .def("push", &CudaEncoder::push, py::arg("codes"))
      .def("finish", &CudaEncoder::finish)
      .def("reset", &CudaEncoder::reset)
      .def_property_readonly("device", &CudaEncoder::device)
      .def_property_readonly("precision", &CudaEncoder::precision)
      .def_property_readonly("kernel", &CudaEncoder::kernel)
      .def_property_readonly("memory_bytes", &CudaEncoder::memory_bytes)
      .def_property_readonly("look_ahead", &CudaEncoder::look_ahead);
}

}  // namespace musicstar::bindings
