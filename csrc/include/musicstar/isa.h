// Which instruction set the CPU kernels run with. Chosen once at run time, queryable, and forced by MUSICSTAR_ISA.
#pragma once

#include <string>
#include <vector>

namespace musicstar::cpu {

enum class Isa { kGeneric, kAvx2, kAvx512 };

const char* name_of(Isa isa);

// What this build contains and this processor (and its operating system) runs, slowest first.
std::vector<Isa> supported_isas();

// The fastest supported one, or the one that `name` (or, where empty, the environment variable MUSICSTAR_ISA) asks for.
// Throws std::invalid_argument when that one is unknown or not supported here; there is no silent fallback.
Isa select_isa(const std::string& name = "");

}  // namespace musicstar::cpu
