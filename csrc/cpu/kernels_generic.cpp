#define MUSICSTAR_KERNELS generic
#define MUSICSTAR_VECTOR_FLOATS 4
#define MUSICSTAR_ROWS 4
#include "cpu/kernels_all.h"
