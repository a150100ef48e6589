#include <doctest/doctest.h>

#include <cstdint>

#include "cpu/packing.h"

namespace musicstar::cpu {

TEST_CASE("packing: an arena's memory is zero and starts at a cache line") {
  Arena arena;
  for (const std::int64_t count : {0, 1, 63, 64, 65, 3 << 20}) {
    CAPTURE(count);
    const char* memory = arena.bytes(count);
    CHECK(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0);
    std::int64_t used = 0;
    for (std::int64_t i = 0; i < count; ++i) used += memory[i] != 0;
    CHECK(used == 0);
  }
}

TEST_CASE("packing: a copy is padded with zeros") {
  Arena arena;
  const float values[] = {1.0f, 2.0f, 3.0f};
  const float* copy = arena.copy(values, 3, 8);
  for (int i = 0; i < 8; ++i) CHECK(copy[i] == (i < 3 ? values[i] : 0.0f));
}

}  // namespace musicstar::cpu
