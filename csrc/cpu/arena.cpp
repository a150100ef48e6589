#include "cpu/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "cpu/pages.h"

namespace musicstar::cpu {

namespace {

constexpr std::int64_t kLine = 64;
#if defined(MUSICSTAR_SANITIZED)  // a block for each request and not a byte more: so the address sanitizer sees its end
constexpr std::int64_t kBlock = 0, kPage = 1, kAlignment = kLine;
#else
constexpr std::int64_t kBlock = std::int64_t{32} << 20;  // only what is used of it becomes memory, page by page
constexpr std::int64_t kPage = kHugePage, kAlignment = kHugePage;
#endif

}  // namespace

Arena::~Arena() {
  for (void* block : blocks_) std::free(block);
}

char* Arena::bytes(std::int64_t count) {
  const std::int64_t size = kBlock == 0 ? count : round_up(count, kLine);
  if (size > free_bytes_ || blocks_.empty() || kBlock == 0) add_block(size);
  char* memory = free_;
  free_ += size;
  free_bytes_ -= size;
  std::memset(memory, 0, static_cast<std::size_t>(size));
  return memory;
}

void Arena::add_block(std::int64_t bytes) {
  const std::int64_t size = round_up(std::max({bytes, kBlock, std::int64_t{1}}), kPage);
  blocks_.reserve(blocks_.size() + 1);
  void* block = allocate_pages(kAlignment, size);
  if (block == nullptr) throw std::bad_alloc();
  blocks_.push_back(block);
  free_ = static_cast<char*>(block);
  free_bytes_ = size;
}

float* Arena::copy(const float* values, std::int64_t count, std::int64_t padded) {
  float* place = floats(padded);
  std::copy_n(values, count, place);
  return place;
}

}  // namespace musicstar::cpu
