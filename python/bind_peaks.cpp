// The machine's limits, for benchmarks.
#include <pybind11/pybind11.h>

#include <cmath>
#include <string>

#include "module.h"
#include "musicstar/peaks.h"

namespace py = pybind11;

namespace musicstar::bindings {

namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 32;

void check_seconds(double seconds) {
  if (!(seconds > 0.0 && seconds <= 60.0)) throw py::value_error("seconds must be above 0 and at most 60");
}

}  // namespace

void bind_peaks(py::module_& module) {
  module.def(
      "peak_multiply_adds",
      [](const std::string& precision, const std::string& isa, double seconds) {
        check_seconds(seconds);
        const cpu::Precision chosen = cpu::precision_named(precision);
        const cpu::Isa set = cpu::select_isa(isa);
        const py::gil_scoped_release released;
        return cpu::peak_multiply_adds(set, chosen, seconds);
      },
      py::arg("precision") = "fp32", py::arg("isa") = "", py::arg("seconds") = 0.02);
  module.def(
      "read_bandwidth",
      [](std::int64_t bytes, const std::string& isa, double seconds) {
        check_seconds(seconds);
        if (bytes < 1 || bytes > kMostBytes) throw py::value_error("bytes must be from 1 to 2^32");
        const cpu::Isa set = cpu::select_isa(isa);
        const py::gil_scoped_release released;
        return cpu::read_bandwidth(set, bytes, seconds);
      },
      py::arg("bytes"), py::arg("isa") = "", py::arg("seconds") = 0.02);
}

}  // namespace musicstar::bindings
