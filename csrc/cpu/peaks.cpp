#include "musicstar/peaks.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "cpu/arena.h"
#include "cpu/peaks.h"

namespace musicstar::cpu {

namespace generic_peaks {
extern const PeakKernels kPeakKernels;
}
#if defined(MUSICSTAR_X86)
namespace avx2_peaks {
extern const PeakKernels kPeakKernels;
}
#if defined(MUSICSTAR_AVX_VNNI)
namespace avx2_dot_peaks {
extern const PeakKernels kPeakKernels;
}
#endif
namespace avx512_peaks {
extern const PeakKernels kPeakKernels;
}
namespace avx512_dot_peaks {
extern const PeakKernels kPeakKernels;
}
#endif

const PeakKernels& peak_kernels_of(Isa isa) {
#if defined(MUSICSTAR_X86)
#if defined(MUSICSTAR_AVX512)
  if (isa == Isa::kAvx512Dot) return avx512_dot_peaks::kPeakKernels;
  if (isa == Isa::kAvx512) return avx512_peaks::kPeakKernels;
#endif
#if defined(MUSICSTAR_AVX_VNNI)
  if (isa == Isa::kAvx2Dot) return avx2_dot_peaks::kPeakKernels;
#endif
  if (isa == Isa::kAvx2) return avx2_peaks::kPeakKernels;
#endif
  (void)isa;
  return generic_peaks::kPeakKernels;
}

namespace {

constexpr std::int64_t kRounds = 20'000;      // of the multiply-adds in one run: some 0.1 ms
constexpr std::int64_t kRunBytes = 64 << 20;  // read in one run, at least

using Clock = std::chrono::steady_clock;

// The best rate of runs of `run`, which returns the work it did, until `seconds` are over; the first run is not
// counted.
template <class Run>
double best_rate(double seconds, const Run& run) {
  run();
  double best = 0.0;
  const Clock::time_point begin = Clock::now();
  for (Clock::time_point from = begin; best == 0.0 || std::chrono::duration<double>(from - begin).count() < seconds;) {
    const auto work = static_cast<double>(run());
    const Clock::time_point to = Clock::now();
    best = std::max(best, work / std::chrono::duration<double>(to - from).count());
    from = to;
  }
  return best;
}

}  // namespace

double peak_multiply_adds(Isa isa, Precision precision, double seconds) {
  const auto kernel = peak_kernels_of(isa).multiply_adds[static_cast<int>(precision)];
  return best_rate(seconds, [kernel] { return kernel(kRounds); });
}

double read_bandwidth(Isa isa, std::int64_t bytes, double seconds) {
  const std::int64_t size = (bytes + kReadBlock - 1) / kReadBlock * kReadBlock;
  Arena arena;
  char* buffer = arena.bytes(size);
  std::memset(buffer, 1, static_cast<std::size_t>(size));
  const auto kernel = peak_kernels_of(isa).read;
  const std::int64_t passes = std::max<std::int64_t>(1, kRunBytes / size);
  return best_rate(seconds, [=] {
    for (std::int64_t pass = 0; pass < passes; ++pass) kernel(buffer, size);
    return passes * size;
  });
}

}  // namespace musicstar::cpu
