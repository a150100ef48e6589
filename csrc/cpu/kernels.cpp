#include "cpu/kernels.h"

#include <thread>

namespace musicstar::cpu {

namespace generic {
extern const Kernels kKernels;
}
#if defined(MUSICSTAR_X86)
namespace avx2 {
extern const Kernels kKernels;
}
#if defined(MUSICSTAR_AVX_VNNI)
namespace avx2_dot {
extern const Kernels kKernels;
}
#endif
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx512_dot {
extern const Kernels kKernels;
}
#endif

void yield_processor() { std::this_thread::yield(); }

const Kernels& kernels_of(Isa isa) {
#if defined(MUSICSTAR_X86)
#if defined(MUSICSTAR_AVX512)
  if (isa == Isa::kAvx512Dot) return avx512_dot::kKernels;
  if (isa == Isa::kAvx512) return avx512::kKernels;
#endif
#if defined(MUSICSTAR_AVX_VNNI)
  if (isa == Isa::kAvx2Dot) return avx2_dot::kKernels;
#endif
  if (isa == Isa::kAvx2) return avx2::kKernels;
#endif
  (void)isa;
  return generic::kKernels;
}

}  // namespace musicstar::cpu
