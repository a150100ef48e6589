// The parts of the module, one file each.
#pragma once

#include <pybind11/pybind11.h>

namespace musicstar::bindings {

void bind_system(pybind11::module_& module);
void bind_peaks(pybind11::module_& module);
void bind_encoder(pybind11::module_& module);
void bind_sampler(pybind11::module_& module);
void bind_cuda_errors(pybind11::module_& module);
void bind_cuda_encoder(pybind11::module_& module);
void bind_cuda_sampler(pybind11::module_& module);
void bind_cuda_stacks(pybind11::module_& module);
void bind_reference(pybind11::module_& module);
void bind_stacks(pybind11::module_& module);

}  // namespace musicstar::bindings
