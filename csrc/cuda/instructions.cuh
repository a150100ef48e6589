// Every PTX instruction that the kernels use, one thin function each: the only place with inline assembly. Compiled by
// nvcc they are the instructions; compiled by a C++ compiler with MUSICSTAR_EMULATED_GPU they are the same operations
// in C++ (csrc/emulated_gpu), so that kernels are checked on machines without a GPU.
//
//   everyday.cuh    bf16, fast functions, memory in L2, barriers of a block, dynamic_shared, MUSICSTAR_SHARED
//   matrix.cuh      mma.sync, ldmatrix, stmatrix                               (sm_80, stmatrix sm_90)
//   copies.cuh      cp.async                                                   (sm_80)
//   mbarriers.cuh   mbarrier objects, bulk and tensor copies                   (sm_90)
//   clusters.cuh    cluster barrier, distributed shared memory, st.async       (sm_90)
//   wgmma.cuh       warpgroup products, their descriptors, setmaxnreg          (sm_90a)
//
// An instruction that the compiled architecture lacks becomes a trap: the host chooses kernels by compute capability.
#pragma once

#include "cuda/instructions/clusters.cuh"
#include "cuda/instructions/copies.cuh"
#include "cuda/instructions/everyday.cuh"
#include "cuda/instructions/matrix.cuh"
#include "cuda/instructions/mbarriers.cuh"
#include "cuda/instructions/wgmma.cuh"
