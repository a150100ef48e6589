#define MUSICSTAR_PEAKS generic_peaks
#define MUSICSTAR_VECTOR_FLOATS 4
#if defined(__x86_64__)
#define MUSICSTAR_VECTOR_REGISTER "x"
#else
#define MUSICSTAR_VECTOR_REGISTER "w"
#endif
#include "cpu/peaks_all.h"
