// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a random number
// is a pure function of (seed, lane, sample index), so a draw never depends on threads, batches or how a run is cut
// into calls.
#pragma once

#include <array>
#include <cstdint>

namespace musicstar {

using PhiloxBlock = std::array<std::uint32_t, 4>;

PhiloxBlock philox4x32(PhiloxBlock counter, std::array<std::uint32_t, 2> key);

// Uniform in [0, 1) with 24 bits: word (index mod 4) of the block with counter (index / 4, lane) and key seed.
float philox_uniform(std::uint64_t seed, std::uint64_t lane, std::uint64_t index);

}  // namespace musicstar
