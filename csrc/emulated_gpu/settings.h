// What control.h sets, as the emulator reads it.
#pragma once

#include <cstdint>

#include "emulated_gpu/control.h"

namespace musicstar::emulated_gpu {

struct Settings {
  Schedule schedule;
  int multiprocessors = 16;
  std::int64_t memory_bytes = std::int64_t{4} << 30;
  int major = 9, minor = 0;
  std::uint64_t patience = 1000;
};

Settings& settings();

}  // namespace musicstar::emulated_gpu
