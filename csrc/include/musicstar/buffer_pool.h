// Memory for what passes between calls, kept for the next one.
//
// A training step needs the same buffers again and again, tens of megabytes each: fetched from the system every time,
// the page faults of their first touch cost half as much as a small network's arithmetic. So a freed buffer is kept for
// a request of about its size, as torch does on a GPU. All that the pool holds stays within a quarter more than the
// most that was ever in use at once.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>

namespace musicstar::cpu {

class BufferPool {
 public:
  BufferPool() = default;
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  struct Buffer {
    void* data = nullptr;  // aligned to a page
    std::int64_t bytes = 0;
  };

  // At least `bytes` bytes, not initialised; throws std::bad_alloc.
  Buffer take(std::int64_t bytes);
  void give_back(Buffer buffer);

  std::int64_t bytes_kept() const;

 private:
  void trim();

  mutable std::mutex mutex_;
  std::list<Buffer> kept_;  // oldest first
  std::int64_t in_use_ = 0, most_in_use_ = 0, kept_bytes_ = 0;
};

// The one of this process. It outlives every thread and object: it is never destroyed.
BufferPool& buffer_pool();

}  // namespace musicstar::cpu
