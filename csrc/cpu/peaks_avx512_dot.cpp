#define MUSICSTAR_PEAKS avx512_dot_peaks
#define MUSICSTAR_VECTOR_FLOATS 16
#define MUSICSTAR_VECTOR_REGISTER "v"
#define MUSICSTAR_DOT_PRODUCTS
#include "cpu/peaks_all.h"
