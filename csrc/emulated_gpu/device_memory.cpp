#include "emulated_gpu/device_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "emulated_gpu/settings.h"

namespace musicstar::emulated_gpu {

namespace {

constexpr std::size_t kAlignment = 256;

struct Allocation {
  std::size_t bytes = 0;
  char* mapping = nullptr;
  std::size_t mapped = 0;
};

std::recursive_mutex mutex;
std::map<const char*, Allocation>& allocations() {
  static std::map<const char*, Allocation> all;
  return all;
}
std::size_t in_use = 0;

std::size_t round_up(std::size_t value, std::size_t to) { return (value + to - 1) / to * to; }

}  // namespace

void* allocate(std::size_t bytes) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  const std::size_t room = static_cast<std::size_t>(settings().memory_bytes);
  if (bytes > room || in_use > room - bytes) return nullptr;
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t inside = round_up(round_up(bytes, kAlignment), page);
  const std::size_t mapped = inside + 2 * page;
  void* mapping = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  char* start = static_cast<char*>(mapping) + page;
  if (mprotect(start, inside, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, mapped);
    return nullptr;
  }
  std::memset(start, 0xff, inside);
  // The end is where the unmapped page begins, up to the alignment.
  char* data = start + inside - round_up(bytes, kAlignment);
  allocations()[data] = {bytes, static_cast<char*>(mapping), mapped};
  in_use += bytes;
  return data;
}

bool release(void* pointer, bool& overrun) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  overrun = false;
  const auto found = allocations().find(static_cast<const char*>(pointer));
  if (found == allocations().end()) return false;
  const Allocation& allocation = found->second;
  const char* end = found->first + allocation.bytes;
  for (std::size_t i = 0; i < round_up(allocation.bytes, kAlignment) - allocation.bytes; ++i) {
    if (static_cast<unsigned char>(end[i]) != 0xff) overrun = true;
  }
  munmap(allocation.mapping, allocation.mapped);
  in_use -= allocation.bytes;
  allocations().erase(found);
  return true;
}

bool find_device_memory(const void* pointer, std::size_t& bytes_left) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  const char* place = static_cast<const char*>(pointer);
  auto next = allocations().upper_bound(place);
  if (next == allocations().begin()) return false;
  --next;
  if (place >= next->first + next->second.bytes) return false;
  bytes_left = static_cast<std::size_t>(next->first + next->second.bytes - place);
  return true;
}

std::size_t bytes_in_use() {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  return in_use;
}

std::int64_t memory_in_use() { return static_cast<std::int64_t>(bytes_in_use()); }

std::string describe_address(const void* pointer) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  const char* place = static_cast<const char*>(pointer);
  char text[160];
  for (const auto& [start, allocation] : allocations()) {
    if (place < allocation.mapping || place >= allocation.mapping + allocation.mapped) continue;
    const bool before = place < start;
    std::snprintf(text, sizeof text, "illegal address: %lld bytes %s an allocation of %zu bytes",
                  static_cast<long long>(before ? start - place : place - (start + allocation.bytes)),
                  before ? "before" : "past the end of", allocation.bytes);
    return text;
  }
  std::snprintf(text, sizeof text, "illegal address: %p is in no allocation", pointer);
  return text;
}

}  // namespace musicstar::emulated_gpu
