// In which order a layer takes its taps: the unshifted one last, as its rows are what a forward adds to. A backward
// that computes the sum again takes them in the same order, so that it finds the same bits: a ReLU may not change
// sides.
#pragma once

#include <cuda_runtime.h>

namespace musicstar::cuda {

struct TapOrder {
  int taps, centre;  // `centre`: the unshifted tap
  __device__ int operator()(int step) const { return step == taps - 1 ? centre : step < centre ? step : step + 1; }
};

}  // namespace musicstar::cuda
