// Memory in whole pages, for the engines' arenas and for buffers.
#pragma once

#include <cstdint>

namespace musicstar::cpu {

constexpr std::int64_t kHugePage = std::int64_t{1} << 21;

// `bytes` at a multiple of `alignment`, a power of two; freed by std::free. Aligned as huge pages are, it asks the
// system for those, which is a wish only. Null where there is no memory.
void* allocate_pages(std::int64_t alignment, std::int64_t bytes);

}  // namespace musicstar::cpu
