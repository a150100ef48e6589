#define MUSICSTAR_KERNELS avx2
#define MUSICSTAR_VECTOR_FLOATS 8
#define MUSICSTAR_ROWS 6
#include "cpu/kernels_all.h"
