// The machine's own limits, measured: multiply-adds a second out of registers, and bytes a second out of a cache. They
// are the denominators of every "share of the bound" in the benchmarks, taken in the same run as what they bound.
//
// As with kernels.h, what is timed is compiled once per instruction set (peaks_*.cpp) and sees no standard container.
#pragma once

#include <cstdint>

#include "musicstar/isa.h"

namespace musicstar::cpu {

struct PeakKernels {
  // Runs `rounds` rounds of independent chains that never leave the registers; returns the multiply-adds done.
  // Indexed by Precision: the widest instruction that this instruction set has for it.
  std::int64_t (*multiply_adds[3])(std::int64_t rounds);

  // Reads `bytes` bytes (a multiple of kReadBlock, 64-byte aligned) once.
  void (*read)(const char* from, std::int64_t bytes);
};

constexpr std::int64_t kReadBlock = 4096;

const PeakKernels& peak_kernels_of(Isa isa);

}  // namespace musicstar::cpu
