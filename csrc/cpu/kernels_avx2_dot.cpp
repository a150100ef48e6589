#define MUSICSTAR_KERNELS avx2_dot
#define MUSICSTAR_VECTOR_FLOATS 8
#define MUSICSTAR_ROWS 6
#include "cpu/kernels_all.h"
