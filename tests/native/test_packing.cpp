#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/packing.h"
#include "engine_runs.h"

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

TEST_CASE("packing: where products of bytes meet in 16 bits, those of two neighbours fit") {
  constexpr std::int64_t kIn = 64, kOut = 32;
  std::vector<float> weights = tests::random_floats(kIn * kOut, 7);
  std::fill_n(weights.begin(), kIn, 1.0f);
  std::fill_n(weights.begin() + kIn, kIn, -0.3f);
  for (std::int64_t i = 0; i < kIn; ++i) weights[2 * kIn + i] = i % 2 == 0 ? 64.5f : 62.5f;  // both round upwards
  tests::on_every_isa([&](Isa isa) {
    const Kernels& kernels = kernels_of(isa);
    const RowFormat& format = kernels.in(Precision::kInt8).format;
    if (!format.in_16_bits) return;
    REQUIRE(format.weight_bytes == 1);
    Arena arena;
    const PackedMatrix packed =
        Packer(arena, kernels, Precision::kInt8).pack(kIn, kOut, {{weights.data(), kOut, 0, 1, 0, 0}});
    const auto* bytes = reinterpret_cast<const signed char*>(packed.weight);
    int highest = 0, lowest = 0;
    for (std::int64_t i = 0; i < kIn * kOut; i += 2) {
      highest = std::max(highest, std::max<int>(bytes[i], 0) + std::max<int>(bytes[i + 1], 0));
      lowest = std::min(lowest, std::min<int>(bytes[i], 0) + std::min<int>(bytes[i + 1], 0));
    }
    CHECK(highest >= 127);
    CHECK(255 * highest <= 32767);
    CHECK(255 * lowest >= -32768);
  });
}

}  // namespace musicstar::cpu
