#include <doctest/doctest.h>

#include <stdexcept>

#include "musicstar/cuda_devices.h"

namespace musicstar::cuda {

TEST_CASE("a build without CUDA says so") {
  if (!build_description().empty()) return;
  CHECK_THROWS_AS(devices(), std::runtime_error);
}

}  // namespace musicstar::cuda
