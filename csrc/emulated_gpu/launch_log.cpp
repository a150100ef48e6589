#include "emulated_gpu/launch_log.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

namespace musicstar::emulated_gpu {

void log_launch(const char* symbol, std::uint64_t threads, std::size_t shared_bytes) {
  static const char* const path = std::getenv("MUSICSTAR_EMULATED_LAUNCHES");
  if (!path || !symbol) return;
  static std::set<std::string> logged;
  const std::string line = std::string(symbol) + ' ' + std::to_string(threads) + ' ' + std::to_string(shared_bytes);
  if (logged.insert(line).second) std::ofstream(path, std::ios::app) << line << '\n';
}

}  // namespace musicstar::emulated_gpu
