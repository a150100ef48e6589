// Which instruction set and precision the CPU kernels run with. The instruction set is chosen once
// at run time, queryable, and forced by MUSICSTAR_ISA.
#pragma once

#include <string>
#include <vector>

namespace musicstar::cpu {

// kAvx2Dot is AVX2 with the dot product of AVX-VNNI, kAvx512Dot is AVX-512 with those of BF16 and VNNI.
enum class Isa { kGeneric, kAvx2, kAvx2Dot, kAvx512, kAvx512Dot };

// What weights and activations of the large products are stored as; sums are fp32 (int8: int32, then fp32).
enum class Precision { kFp32, kBf16, kInt8 };

const char* name_of(Isa isa);
const char* name_of(Precision precision);

// Throws std::invalid_argument for anything but fp32, bf16 and int8.
Precision precision_named(const std::string& name);

// What this build contains and this processor (and its operating system) runs, slowest first.
std::vector<Isa> supported_isas();

// The fastest supported one, or the one that `name` (or, where empty, the environment variable MUSICSTAR_ISA) asks for.
// Throws std::invalid_argument when that one is unknown or not supported here; there is no silent fallback.
Isa select_isa(const std::string& name = "");

}  // namespace musicstar::cpu
