// The oracle. It looks at the caller's weight arrays and keeps them alive.
#include <algorithm>
#include <optional>

#include "arguments.h"
#include "module.h"
#include "musicstar/reference.h"

namespace musicstar::bindings {

namespace {

py::array_t<float> as_floats(const std::vector<double>& values, std::vector<std::int64_t> shape) {
  py::array_t<float> array(std::move(shape));
  std::transform(values.begin(), values.end(), array.mutable_data(),
                 [](double value) { return static_cast<float>(value); });
  return array;
}

class ReferenceEncoder {
 public:
  ReferenceEncoder(const py::dict& sizes, const py::dict& weights)
      : sizes_(encoder_sizes(sizes)), owner_(weights.attr("copy")()), weights_(encoder_weights(sizes_, weights)) {}

  py::array_t<float> encode(const py::array& codes) const {
    const std::int64_t n = check_array<std::uint8_t>(codes, "codes", {-1})[0];
    std::vector<double> frames;
    {
      const py::gil_scoped_release released;
      frames = reference::encode(sizes_, weights_, data_of<std::uint8_t>(codes), n);
    }
    return as_floats(frames, {n / sizes_.pool, sizes_.code_channels});
  }

 private:
  EncoderSizes sizes_;
  py::dict owner_;
  EncoderWeights weights_;
};

class ReferenceSampler {
 public:
  ReferenceSampler(const py::dict& sizes, const py::dict& weights, bool guided)
      : sizes_(decoder_sizes(sizes)),
        owner_(weights.attr("copy")()),
        weights_(decoder_weights(sizes_, weights)),
        sampler_(sizes_, weights_) {
    if (guided) guided_.emplace(sizes_, weights_);
  }

  py::array_t<std::uint8_t> sample(const py::array& condition, const py::array& uniforms, double temperature,
                                   double guidance) {
    const std::int64_t n = check_array<float>(uniforms, "uniforms", {-1})[0];
    check_uniforms(data_of<float>(uniforms), n);
    const float* frames = condition_of(condition, n);
    const float warmth = checked_temperature(temperature), share = checked_guidance(guidance, guided_.has_value());
    py::array_t<std::uint8_t> codes(n);
    std::uint8_t* out = codes.mutable_data();
    const py::gil_scoped_release released;
    const std::int64_t first = position() / sizes_.pool;
    for (std::int64_t t = 0; t < n; ++t) {
      const std::vector<double> logits = next_logits(frame_at(frames, first), share);
      out[t] = static_cast<std::uint8_t>(
          reference::draw(logits.data(), sizes_.classes, data_of<float>(uniforms)[t], warmth));
      feed(out[t]);
    }
    return codes;
  }

  py::array_t<float> score(const py::array& condition, const py::array& codes, double guidance) {
    const std::int64_t n = check_array<std::uint8_t>(codes, "codes", {-1})[0];
    check_codes(data_of<std::uint8_t>(codes), n, sizes_.classes);
    const float* frames = condition_of(condition, n);
    const float share = checked_guidance(guidance, guided_.has_value());
    std::vector<double> all;
    const std::int64_t first = position() / sizes_.pool;
    for (std::int64_t t = 0; t < n; ++t) {
      const std::vector<double> logits = next_logits(frame_at(frames, first), share);
      all.insert(all.end(), logits.begin(), logits.end());
      feed(data_of<std::uint8_t>(codes)[t]);
    }
    return as_floats(all, {n, sizes_.classes});
  }

  py::array_t<float> teacher_forced(const py::array& condition, const py::array& codes) const {
    const std::int64_t n = check_array<std::uint8_t>(codes, "codes", {-1})[0];
    check_codes(data_of<std::uint8_t>(codes), n, sizes_.classes);
    check_array<float>(condition, "condition", {(n + sizes_.pool - 1) / sizes_.pool, sizes_.condition_channels});
    std::vector<double> logits;
    {
      const py::gil_scoped_release released;
      logits = reference::decode_teacher_forced(sizes_, weights_, data_of<std::uint8_t>(codes), n,
                                                data_of<float>(condition));
    }
    return as_floats(logits, {n, sizes_.classes});
  }

  void reset(double first_input) {
    sampler_.reset(static_cast<float>(first_input));
    if (guided_) guided_->reset(static_cast<float>(first_input));
  }
  std::int64_t position() const { return guided_ ? guided_->position() : sampler_.position(); }

 private:
  std::vector<double> next_logits(const float* frame, double guidance) {
    return guided_ ? guided_->next_logits(frame, guidance) : sampler_.next_logits(frame);
  }

  void feed(std::uint8_t code) {
    if (guided_) {
      guided_->feed(code);
    } else {
      sampler_.feed(code);
    }
  }

  const float* condition_of(const py::array& condition, std::int64_t n) const {
    const std::int64_t start = position();
    const std::int64_t frames = n == 0 ? 0 : (start + n - 1) / sizes_.pool - start / sizes_.pool + 1;
    check_array<float>(condition, "condition", {frames, sizes_.condition_channels});
    return data_of<float>(condition);
  }

  const float* frame_at(const float* frames, std::int64_t first) const {
    return frames + (position() / sizes_.pool - first) * sizes_.condition_channels;
  }

  DecoderSizes sizes_;
  py::dict owner_;
  DecoderWeights weights_;
  reference::Sampler sampler_;
  std::optional<reference::GuidedSampler> guided_;  // in its place
};

}  // namespace

void bind_reference(py::module_& module) {
  py::class_<ReferenceEncoder>(module, "ReferenceEncoder")
      .def(py::init<const py::dict&, const py::dict&>(), py::arg("sizes"), py::arg("weights"))
      .def("encode", &ReferenceEncoder::encode, py::arg("codes"));
  py::class_<ReferenceSampler>(module, "ReferenceSampler")
      .def(py::init<const py::dict&, const py::dict&, bool>(), py::arg("sizes"), py::arg("weights"),
           py::arg("guided") = false)
      .def("sample", &ReferenceSampler::sample, py::arg("condition"), py::arg("uniforms"), py::arg("temperature") = 1.0,
           py::arg("guidance") = 1.0)
      .def("score", &ReferenceSampler::score, py::arg("condition"), py::arg("codes"), py::arg("guidance") = 1.0)
      .def("teacher_forced", &ReferenceSampler::teacher_forced, py::arg("condition"), py::arg("codes"))
      .def("reset", &ReferenceSampler::reset, py::arg("first_input") = input_of_code(kStartCode))
      .def_property_readonly("position", &ReferenceSampler::position);
}

}  // namespace musicstar::bindings
