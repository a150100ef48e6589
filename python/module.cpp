#include "module.h"

PYBIND11_MODULE(_musicstar_core, module) {
  module.doc() = "The compiled core of musicstar_ext: reference, engines for CPUs and GPUs, device queries.";
  module.attr("__version__") = MUSICSTAR_VERSION;
  musicstar::bindings::bind_system(module);
  musicstar::bindings::bind_peaks(module);
  musicstar::bindings::bind_encoder(module);
  musicstar::bindings::bind_sampler(module);
  musicstar::bindings::bind_cuda_errors(module);
  musicstar::bindings::bind_cuda_encoder(module);
  musicstar::bindings::bind_cuda_sampler(module);
  musicstar::bindings::bind_cuda_stacks(module);
  musicstar::bindings::bind_reference(module);
  musicstar::bindings::bind_stacks(module);
}
