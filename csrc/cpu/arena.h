// Memory for the engines: what is asked for one after the other lies one after the other, on huge pages where the
// system has them. A sampler's weights are read in the order in which they were packed, so each product finds the next
// one's weights right behind its own, and the processor's address tables hold all of them.
#pragma once

#include <cstdint>
#include <vector>

namespace musicstar::cpu {

// Zeroed memory at cache-line borders, all released together.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  char* bytes(std::int64_t count);
  float* floats(std::int64_t count) { return reinterpret_cast<float*>(bytes(count * 4)); }
  // `count` values followed by zeros up to `padded`.
  float* copy(const float* values, std::int64_t count, std::int64_t padded);

 private:
  void add_block(std::int64_t bytes);

  std::vector<void*> blocks_;
  char* free_ = nullptr;  // of the last block, `free_bytes_` are left
  std::int64_t free_bytes_ = 0;
};

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace musicstar::cpu
