// Tensor maps of the emulated GPU: what they hold, and boxes in shared memory with their swizzle.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

namespace musicstar::emulated_gpu {

// Bits of a shared memory address that name a piece of 16 bytes, exchanged with bits above them: over 128 bytes,
// address bits 4..6 by bits 7..9 (64: bits 4..5 by 7..8; 32: bit 4 by 7).
inline std::uintptr_t swizzled(std::uintptr_t address, std::size_t span) {
  const std::uintptr_t mask = span == 128 ? 7 : span == 64 ? 3 : span == 32 ? 1 : 0;
  return address ^ ((address >> 7 & mask) << 4);
}

struct Box {
  char* data = nullptr;
  std::int64_t sizes[3] = {};    // of the array, in elements of 2 bytes
  std::int64_t strides[3] = {};  // in bytes
  std::int64_t first[3] = {};
  int box[3] = {};
  std::size_t span = 0;  // of the swizzle, 0 for none

  std::size_t bytes() const { return std::size_t{2} * box[0] * box[1] * box[2]; }
  std::size_t shared_alignment() const { return 128; }
  void load(char* shared) const;
  void store(const char* shared) const;

 private:
  template <typename Move>
  void for_each_element(std::uintptr_t shared, Move&& move) const;
};

// The box of `map` that begins at (x, y, z).
Box box_at(const CUtensorMap& map, int x, int y, int z);

}  // namespace musicstar::emulated_gpu
