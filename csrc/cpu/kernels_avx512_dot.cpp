#define MUSICSTAR_KERNELS avx512_dot
#define MUSICSTAR_VECTOR_FLOATS 16
#define MUSICSTAR_ROWS 8
#define MUSICSTAR_DOT_PRODUCTS
#include "cpu/kernels_all.h"
