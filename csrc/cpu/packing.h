// Memory for the engines, and weights brought into the order in which the kernels read them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>

#include "cpu/kernels.h"
#include "musicstar/networks.h"

namespace musicstar::cpu {

// Zeroed floats at cache-line borders, all released together.
class Arena {
 public:
  float* floats(std::int64_t count) {
    const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(float) + kLine) / kLine * kLine;
    void* memory = std::aligned_alloc(kLine, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    blocks_.push_back(memory);
    return static_cast<float*>(memory);
  }

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    for (void* block : blocks_) std::free(block);
  }

 private:
  static constexpr std::size_t kLine = 64;
  std::deque<void*> blocks_;
};

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// One horizontal part of a packed matrix: rows `first_row`.. of a convolution's tap, at padded outputs `column`...
struct MatrixPart {
  const float* weight;     // (out, in, kernel_size)
  std::int64_t out;        // outputs taken
  std::int64_t first_row;  // the first of them
  std::int64_t kernel_size;
  std::int64_t tap;
  std::int64_t column;  // where they go
};

// Packs parts side by side into a matrix of `padded_out` outputs; the rest is zero.
inline PackedMatrix pack(Arena& arena, std::int64_t tile, std::int64_t in, std::int64_t padded_out,
                         std::initializer_list<MatrixPart> parts) {
  float* packed = arena.floats(in * padded_out);
  for (const MatrixPart& part : parts) {
    for (std::int64_t o = 0; o < part.out; ++o) {
      const std::int64_t column = part.column + o;
      for (std::int64_t i = 0; i < in; ++i) {
        packed[(column / tile * in + i) * tile + column % tile] =
            part.weight[((part.first_row + o) * in + i) * part.kernel_size + part.tap];
      }
    }
  }
  return {packed, in, padded_out / tile};
}

}  // namespace musicstar::cpu
