// In which order a forward takes the taps of a layer: the unshifted one last, as its rows are what the layer adds to.
#pragma once

#include <cuda_runtime.h>

namespace musicstar::cuda {

struct TapOrder {
  int taps, centre;  // `centre`: the unshifted tap
  __device__ int operator()(int step) const { return step == taps - 1 ? centre : step < centre ? step : step + 1; }
};

}  // namespace musicstar::cuda
