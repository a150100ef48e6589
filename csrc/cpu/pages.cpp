#include "cpu/pages.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace musicstar::cpu {

void* allocate_pages(std::int64_t alignment, std::int64_t bytes) {
  void* memory = nullptr;
  const auto size = static_cast<std::size_t>(bytes);
  if (posix_memalign(&memory, static_cast<std::size_t>(alignment), size) != 0) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) madvise(memory, size, MADV_HUGEPAGE);
#endif
  return memory;
}

}  // namespace musicstar::cpu
