// The GPU's errors as Python exceptions: CudaError is a RuntimeError, CudaOutOfMemoryError a CudaError.
#include <pybind11/pybind11.h>

#include "module.h"
#include "musicstar/cuda_errors.h"

namespace musicstar::bindings {

void bind_cuda_errors(pybind11::module_& module) {
  const auto error = pybind11::register_exception<cuda::Error>(module, "CudaError", PyExc_RuntimeError);
  pybind11::register_exception<cuda::OutOfMemory>(module, "CudaOutOfMemoryError", error);
}

}  // namespace musicstar::bindings
