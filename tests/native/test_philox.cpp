#include <doctest/doctest.h>

#include "musicstar/philox.h"

namespace musicstar {

// The known-answer vectors that the authors publish with Random123 (kat_vectors, philox4x32 10).
TEST_CASE("philox: known answers") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == PhiloxBlock{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8});
  constexpr std::uint32_t kOnes = 0xFFFFFFFF;
  CHECK(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}) ==
        PhiloxBlock{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD});
  CHECK(philox4x32({0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}, {0xA4093822, 0x299F31D0}) ==
        PhiloxBlock{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1});
}

TEST_CASE("philox: a uniform is 24 bits of the word that its index names") {
  constexpr std::uint64_t kSeed = (std::uint64_t{3} << 32) + 5, kLane = (std::uint64_t{7} << 32) + 11;
  for (const std::uint64_t index :
       {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{4}, (std::uint64_t{1} << 40) + 6}) {
    const std::uint64_t block = index / 4;
    const PhiloxBlock words =
        philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 11, 7}, {5, 3});
    CHECK(philox_uniform(kSeed, kLane, index) == static_cast<float>(words[index % 4] >> 8) / 16777216.0f);
  }
}

TEST_CASE("philox: uniforms lie in [0, 1) and average a half") {
  double sum = 0.0;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const float uniform = philox_uniform(1, 2, i);
    REQUIRE((uniform >= 0.0f && uniform < 1.0f));
    sum += static_cast<double>(uniform);
  }
  CHECK(sum / 10000 == doctest::Approx(0.5).epsilon(0.02));
}

}  // namespace musicstar
