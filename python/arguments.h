// Checks at the border: sizes, weights and arrays from Python become views that the core can trust.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "musicstar/networks.h"

namespace musicstar::bindings {

namespace py = pybind11;

// A C-contiguous array of exactly `T` with the given shape (-1: any length). Raises TypeError or ValueError that names
// the argument. Returns the shape.
template <typename T>
std::vector<std::int64_t> check_array(const py::array& array, const char* name,
                                      const std::vector<std::int64_t>& shape) {
  if (!py::isinstance<py::array_t<T>>(array)) {
    throw py::type_error(std::string(name) + " must have dtype " + std::string(py::str(py::dtype::of<T>())) + ", not " +
                         std::string(py::str(array.dtype())));
  }
  std::vector<std::int64_t> found(array.shape(), array.shape() + array.ndim());
  bool fits = found.size() == shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] < 0 || shape[i] == found[i];
  if (!fits) {
    const auto text = [](const std::vector<std::int64_t>& sizes) {
      std::string joined;
      for (const std::int64_t size : sizes)
        joined += (joined.empty() ? "" : ", ") + (size < 0 ? "any" : std::to_string(size));
      return "(" + joined + ")";
    };
    throw py::value_error(std::string(name) + " must have shape " + text(shape) + ", not " + text(found));
  }
  if ((array.flags() & py::array::c_style) == 0) throw py::value_error(std::string(name) + " must be C-contiguous");
  if ((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0) {
    throw py::value_error(std::string(name) + " must be aligned");
  }
  return found;
}

template <typename T>
const T* data_of(const py::array& array) {
  return static_cast<const T*>(array.data());
}

EncoderSizes encoder_sizes(const py::dict& sizes);
DecoderSizes decoder_sizes(const py::dict& sizes);

// Views into the arrays of `weights`: valid as long as the dict is.
EncoderWeights encoder_weights(const EncoderSizes& sizes, const py::dict& weights);
DecoderWeights decoder_weights(const DecoderSizes& sizes, const py::dict& weights);

int checked_threads(int threads);
std::int64_t checked_lanes(std::int64_t lanes);
float checked_temperature(double temperature);
// `guided`: the sampler is made for it; others take 1 only.
float checked_guidance(double guidance, bool guided);
void check_uniforms(const float* uniforms, std::int64_t count);
// Raises unless the classes that codes name exist: a code is an index into `classes`.
void check_codes(const std::uint8_t* codes, std::int64_t count, std::int64_t classes);

}  // namespace musicstar::bindings
