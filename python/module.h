// The parts of the module, one file each.
#pragma once

#include <pybind11/pybind11.h>

namespace musicstar::bindings {

void bind_system(pybind11::module_& module);
void bind_peaks(pybind11::module_& module);
void bind_encoder(pybind11::module_& module);
void bind_sampler(pybind11::module_& module);
void bind_reference(pybind11::module_& module);

}  // namespace musicstar::bindings
