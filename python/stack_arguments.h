// Checks of what a residual stack is asked for: sizes, and pointers as integers.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

namespace musicstar::bindings {

namespace py = pybind11;

using Pointer = std::uintptr_t;

constexpr std::int64_t kMostTime = std::int64_t{1} << 31, kMostChannels = std::int64_t{1} << 16;
constexpr std::int64_t kMostTaps = 64, kMostLayers = 4096, kMostDilation = std::int64_t{1} << 40;
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;  // of any array

inline std::int64_t checked_size(std::int64_t value, const char* name, std::int64_t least, std::int64_t most) {
  if (value < least || value > most) {
    throw py::value_error(std::string(name) + " must be from " + std::to_string(least) + " to " + std::to_string(most) +
                          ", not " + std::to_string(value));
  }
  return value;
}

inline std::vector<std::int64_t> checked_dilations(std::vector<std::int64_t> dilations) {
  checked_size(static_cast<std::int64_t>(dilations.size()), "the number of dilations", 0, kMostLayers);
  for (const std::int64_t dilation : dilations) checked_size(dilation, "a dilation", 1, kMostDilation);
  return dilations;
}

// Sizes, each at most 2^31, whose product must stay below kMostElements.
inline void check_elements(std::initializer_list<std::int64_t> sizes) {
  std::int64_t elements = 1;
  for (const std::int64_t size : sizes) {
    if (size == 0) return;
    if (elements > kMostElements / size) throw py::value_error("an array of these sizes would be too large");
    elements *= size;
  }
}

// An address as a pointer: not null where it is needed, and aligned.
inline void* checked_pointer(Pointer address, const char* name, bool needed, Pointer alignment) {
  if (address == 0 && needed) throw py::value_error(std::string(name) + " must not be null");
  if (address % alignment != 0) {
    throw py::value_error(std::string(name) + " must be aligned to " + std::to_string(alignment) + " bytes");
  }
  return reinterpret_cast<void*>(address);
}

}  // namespace musicstar::bindings
