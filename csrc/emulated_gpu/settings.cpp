#include "emulated_gpu/settings.h"

#include <cstdlib>
#include <stdexcept>

namespace musicstar::emulated_gpu {

namespace {

Settings settings_of_environment() {
  Settings found;
  if (const char* name = std::getenv("MUSICSTAR_EMULATED_SCHEDULE")) found.schedule = schedule_named(name);
  if (const char* count = std::getenv("MUSICSTAR_EMULATED_MULTIPROCESSORS")) {
    found.multiprocessors = std::atoi(count);
    if (found.multiprocessors < 1) throw std::invalid_argument("MUSICSTAR_EMULATED_MULTIPROCESSORS must be 1 or more");
  }
  return found;
}

}  // namespace

Settings& settings() {
  static Settings all = settings_of_environment();
  return all;
}

Schedule schedule_named(const std::string& name) {
  if (name == "forward") return {Order::kForward, Asynchronous::kLate, 0, false};
  if (name == "reverse") return {Order::kReverse, Asynchronous::kLate, 0, false};
  if (name == "early") return {Order::kForward, Asynchronous::kEarly, 0, false};
  if (name == "proxies") return {Order::kForward, Asynchronous::kLate, 0, true};
  if (name == "random") return {Order::kRandom, Asynchronous::kRandom, 0, false};
  const std::string prefix = "random:";
  if (name.compare(0, prefix.size(), prefix) == 0) {
    const std::string digits = name.substr(prefix.size());
    if (!digits.empty() && digits.size() < 19 && digits.find_first_not_of("0123456789") == std::string::npos) {
      return {Order::kRandom, Asynchronous::kRandom, std::stoull(digits), false};
    }
  }
  throw std::invalid_argument("unknown schedule of the emulated GPU: " + name +
                              " (forward, reverse, early, proxies, random or random:SEED)");
}

Schedule schedule() { return settings().schedule; }
void set_schedule(const Schedule& chosen) { settings().schedule = chosen; }
void set_schedule(const std::string& name) { set_schedule(schedule_named(name)); }
void set_multiprocessors(int count) { settings().multiprocessors = count; }
void set_memory_bytes(std::int64_t bytes) { settings().memory_bytes = bytes; }
void set_compute_capability(int major, int minor) {
  settings().major = major;
  settings().minor = minor;
}
void set_patience(std::uint64_t rounds) { settings().patience = rounds; }

}  // namespace musicstar::emulated_gpu
