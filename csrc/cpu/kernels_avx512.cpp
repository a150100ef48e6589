#define MUSICSTAR_KERNELS avx512
#define MUSICSTAR_VECTOR_FLOATS 16
#define MUSICSTAR_ROWS 8
#include "cpu/kernels_all.h"
