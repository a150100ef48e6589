#include "musicstar/isa.h"

#include <cstdlib>
#include <stdexcept>

#if defined(MUSICSTAR_AVX_VNNI)
#include <cpuid.h>
#endif

namespace musicstar::cpu {

namespace {

constexpr Isa kAll[] = {Isa::kGeneric, Isa::kAvx2, Isa::kAvx2Dot, Isa::kAvx512, Isa::kAvx512Dot};

#if defined(MUSICSTAR_AVX_VNNI)
// Older compilers cannot be asked for it. It needs nothing of the operating system that AVX2 does not.
bool has_avx_vnni() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}
#elif defined(MUSICSTAR_X86)
bool has_avx_vnni() { return false; }  // this build has no kernels for it
#endif

bool runs_here(Isa isa) {
#if defined(MUSICSTAR_X86)
  // The compiler's run-time check asks both the processor and the operating system (XGETBV).
  switch (isa) {
    case Isa::kGeneric:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kAvx2Dot:
      return runs_here(Isa::kAvx2) && has_avx_vnni();
#if defined(MUSICSTAR_AVX512)
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
    case Isa::kAvx512Dot:
      return runs_here(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
#else
    case Isa::kAvx512:
    case Isa::kAvx512Dot:
      return false;  // this build has no kernels for it
#endif
  }
  return false;
#else
  return isa == Isa::kGeneric;
#endif
}

std::string names_of(const std::vector<Isa>& isas) {
  std::string names;
  for (const Isa isa : isas) names += (names.empty() ? "" : ", ") + std::string(name_of(isa));
  return names;
}

}  // namespace

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return "generic";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx2Dot:
      return "avx2-dot";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Dot:
      return "avx512-dot";
  }
  return "";
}

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return "fp32";
    case Precision::kBf16:
      return "bf16";
    case Precision::kInt8:
      return "int8";
  }
  return "";
}

Precision precision_named(const std::string& name) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kInt8}) {
    if (name == name_of(precision)) return precision;
  }
  throw std::invalid_argument("precision must be fp32, bf16 or int8, not '" + name + "'");
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> supported;
  for (const Isa isa : kAll) {
    if (runs_here(isa)) supported.push_back(isa);
  }
  return supported;
}

Isa select_isa(const std::string& name) {
  const std::vector<Isa> supported = supported_isas();
  std::string wanted = name;
  std::string asked_by = "instruction set";
  if (wanted.empty()) {
    const char* forced = std::getenv("MUSICSTAR_ISA");
    if (forced == nullptr || *forced == '\0') return supported.back();
    wanted = forced;
    asked_by = "MUSICSTAR_ISA";
  }
  for (const Isa isa : supported) {
    if (wanted == name_of(isa)) return isa;
  }
  for (const Isa isa : kAll) {
    if (wanted == name_of(isa)) {
      throw std::invalid_argument(asked_by + " '" + wanted +
                                  "' does not run on this machine; here: " + names_of(supported));
    }
  }
  throw std::invalid_argument(asked_by + " '" + wanted + "' is unknown; here: " + names_of(supported));
}

}  // namespace musicstar::cpu
