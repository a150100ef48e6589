#define MUSICSTAR_PEAKS avx512_peaks
#define MUSICSTAR_VECTOR_FLOATS 16
#define MUSICSTAR_VECTOR_REGISTER "v"
#include "cpu/peaks_all.h"
