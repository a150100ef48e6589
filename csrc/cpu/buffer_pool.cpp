#include "musicstar/buffer_pool.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "cpu/pages.h"

namespace musicstar::cpu {

namespace {

constexpr std::int64_t kPage = std::int64_t{1} << 12;

}  // namespace

BufferPool::~BufferPool() {
  for (const Buffer& buffer : kept_) std::free(buffer.data);
}

BufferPool::Buffer BufferPool::take(std::int64_t bytes) {
  const std::int64_t alignment = bytes < kHugePage ? kPage : kHugePage;
  const std::int64_t rounded = std::max(bytes + alignment - 1, alignment) / alignment * alignment;
  const std::lock_guard<std::mutex> lock(mutex_);
  auto best = kept_.end();
  for (auto each = kept_.begin(); each != kept_.end(); ++each) {
    if (each->bytes < rounded || each->bytes > rounded + rounded / 4) continue;
    if (best == kept_.end() || each->bytes < best->bytes) best = each;
  }
  Buffer buffer{nullptr, rounded};
  if (best != kept_.end()) {
    buffer = *best;
    kept_.erase(best);
    kept_bytes_ -= buffer.bytes;
  }
  in_use_ += buffer.bytes;
  most_in_use_ = std::max(most_in_use_, in_use_);
  if (buffer.data != nullptr) return buffer;
  trim();
  buffer.data = allocate_pages(alignment, rounded);
  if (buffer.data == nullptr) {
    in_use_ -= rounded;
    throw std::bad_alloc();
  }
  return buffer;
}

void BufferPool::give_back(Buffer buffer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  in_use_ -= buffer.bytes;
  kept_.push_back(buffer);
  kept_bytes_ += buffer.bytes;
  trim();
}

std::int64_t BufferPool::bytes_kept() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return kept_bytes_;
}

void BufferPool::trim() {
  while (!kept_.empty() && in_use_ + kept_bytes_ > most_in_use_ + most_in_use_ / 4) {
    kept_bytes_ -= kept_.front().bytes;
    std::free(kept_.front().data);
    kept_.pop_front();
  }
}

BufferPool& buffer_pool() {
  static BufferPool& pool = *new BufferPool;
  return pool;
}

}  // namespace musicstar::cpu
