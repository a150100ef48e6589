// Buffers carved out of one block of device memory that the caller owns.
#pragma once

#include <cstdint>

namespace musicstar::cuda {

// Hands out consecutive buffers, each aligned to 256 bytes as the block is. Without a block it only counts.
class Carver {
 public:
  static constexpr std::int64_t kAlignment = 256;

  explicit Carver(void* block) : block_(static_cast<char*>(block)) {}

  void* bytes(std::int64_t count) {
    const std::int64_t start = used_;
    used_ += (count + kAlignment - 1) / kAlignment * kAlignment;
    return block_ == nullptr ? nullptr : block_ + start;
  }
  // The same, or null where nothing is wanted.
  void* bytes_if_any(std::int64_t count) { return count > 0 ? bytes(count) : nullptr; }
  template <typename T>
  T* take(std::int64_t count) {
    return static_cast<T*>(bytes(count * static_cast<std::int64_t>(sizeof(T))));
  }
  std::int64_t used() const { return used_; }

 private:
  char* block_;
  std::int64_t used_ = 0;
};

}  // namespace musicstar::cuda
