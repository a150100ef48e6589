#define MUSICSTAR_KERNELS avx2
#define MUSICSTAR_VECTOR_FLOATS 8
#include "cpu/stack_kernels_all.h"
