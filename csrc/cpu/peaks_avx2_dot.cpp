#define MUSICSTAR_PEAKS avx2_dot_peaks
#define MUSICSTAR_VECTOR_FLOATS 8
#define MUSICSTAR_VECTOR_REGISTER "x"
#include "cpu/peaks_all.h"
