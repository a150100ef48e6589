#include "cpu/stack_kernels.h"

namespace musicstar::cpu {

namespace generic {
extern const StackKernels kStackKernels;
}
#if defined(MUSICSTAR_X86)
namespace avx2 {
extern const StackKernels kStackKernels;
}
namespace avx512 {
extern const StackKernels kStackKernels;
}
#endif

const StackKernels& stack_kernels_of(Isa isa) {
#if defined(MUSICSTAR_X86)
#if defined(MUSICSTAR_AVX512)
  if (isa == Isa::kAvx512 || isa == Isa::kAvx512Dot) return avx512::kStackKernels;
#endif
  if (isa == Isa::kAvx2 || isa == Isa::kAvx2Dot) return avx2::kStackKernels;
#endif
  (void)isa;
  return generic::kStackKernels;
}

}  // namespace musicstar::cpu
