#define MUSICSTAR_KERNELS avx512
#define MUSICSTAR_VECTOR_FLOATS 16
#include "cpu/stack_kernels_all.h"
