#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "musicstar/isa.h"

namespace musicstar::cpu {

namespace {

// MUSICSTAR_ISA for as long as this lives; then what it was before.
class ForcedByEnvironment {
 public:
  explicit ForcedByEnvironment(const char* name) {
    if (const char* before = std::getenv("MUSICSTAR_ISA")) before_ = before;
    ::setenv("MUSICSTAR_ISA", name, 1);
  }
  ~ForcedByEnvironment() {
    if (before_.empty()) {
      ::unsetenv("MUSICSTAR_ISA");
    } else {
      ::setenv("MUSICSTAR_ISA", before_.c_str(), 1);
    }
  }
  ForcedByEnvironment(const ForcedByEnvironment&) = delete;
  ForcedByEnvironment& operator=(const ForcedByEnvironment&) = delete;

 private:
  std::string before_;
};

}  // namespace

TEST_CASE("isa: the portable path is always there, and the fastest is the default") {
  const std::vector<Isa> supported = supported_isas();
  REQUIRE(!supported.empty());
  CHECK(supported.front() == Isa::kGeneric);
  CHECK(std::is_sorted(supported.begin(), supported.end()));
  const ForcedByEnvironment nothing("");
  CHECK(select_isa() == supported.back());
}

TEST_CASE("isa: a name or the environment forces one") {
  for (const Isa isa : supported_isas()) {
    CHECK(select_isa(name_of(isa)) == isa);
    const ForcedByEnvironment forced(name_of(isa));
    CHECK(select_isa() == isa);
    CHECK(select_isa("generic") == Isa::kGeneric);  // an argument goes before the environment
  }
}

TEST_CASE("isa: what is unknown or not supported is an error, never a fallback") {
  CHECK_THROWS_WITH_AS(select_isa("sse9"), doctest::Contains("instruction set 'sse9' is unknown; here: generic"),
                       std::invalid_argument);
  const std::vector<Isa> supported = supported_isas();
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx2Dot, Isa::kAvx512, Isa::kAvx512Dot}) {
    if (std::find(supported.begin(), supported.end(), isa) != supported.end()) continue;
    CHECK_THROWS_WITH_AS(select_isa(name_of(isa)), doctest::Contains("does not run on this machine; here: generic"),
                         std::invalid_argument);
  }
  const ForcedByEnvironment forced("mmx");
  CHECK_THROWS_WITH_AS(select_isa(), doctest::Contains("MUSICSTAR_ISA 'mmx' is unknown"), std::invalid_argument);
}

TEST_CASE("precision: three names, and an error for any other") {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kInt8}) {
    CHECK(precision_named(name_of(precision)) == precision);
  }
  for (const char* name : {"", "fp64", "FP32"}) CHECK_THROWS_AS(precision_named(name), std::invalid_argument);
}

}  // namespace musicstar::cpu
