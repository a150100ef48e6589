// What this processor can do at best, measured on one core: the bounds that benchmarks compare with.
#pragma once

#include <cstdint>

#include "musicstar/isa.h"

namespace musicstar::cpu {

// Multiply-adds a second out of registers, in the widest instruction that `isa` has for `precision`: the best of
// several short runs that take about `seconds` in all.
double peak_multiply_adds(Isa isa, Precision precision, double seconds);

// Bytes a second when `bytes` bytes (rounded up to 4096) are read again and again, as one lane reads its weights: the
// best of several passes that take about `seconds` in all.
double read_bandwidth(Isa isa, std::int64_t bytes, double seconds);

}  // namespace musicstar::cpu
