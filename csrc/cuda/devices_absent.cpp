// Built in place of devices.cpp where there is no CUDA compiler.
#include <stdexcept>

#include "musicstar/cuda_devices.h"

namespace musicstar::cuda {

std::string build_description() { return ""; }

std::vector<Device> devices() { throw std::runtime_error("no usable GPU: this build has no CUDA"); }

}  // namespace musicstar::cuda
