#define MUSICSTAR_KERNELS generic
#define MUSICSTAR_VECTOR_FLOATS 4
#include "cpu/stack_kernels_all.h"
