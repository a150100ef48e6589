// What has been launched, for the test that holds kernels to the budgets in their sources.
#pragma once

#include <cstddef>
#include <cstdint>

namespace musicstar::emulated_gpu {

// Where MUSICSTAR_EMULATED_LAUNCHES names a file, adds "symbol threads dynamic_shared_bytes" to its end, once for each.
void log_launch(const char* symbol, std::uint64_t threads, std::size_t shared_bytes);

}  // namespace musicstar::emulated_gpu
