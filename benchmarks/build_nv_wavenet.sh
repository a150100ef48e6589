#!/usr/bin/env bash
# Builds nv-wavenet's sampler (R = S = 128, A = 256, fp16) from a checkout of github.com/NVIDIA/nv-wavenet, for
# cuda_samplers.py. The checkout stays as it is; what is built lies in OUT, outside of this repository.
#
#     benchmarks/build_nv_wavenet.sh CHECKOUT OUT [sm_90]
#
# One change is needed for CUDA 11 and later: cudaPointerAttributes.memoryType is called .type now. NDEBUG leaves out an
# assertion on an occupancy that the program computes from uninitialised memory. CHECKOUT may be a bare repository.
set -euo pipefail
[ $# -eq 2 ] || [ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
checkout=$1 out=$2 architecture=${3:-sm_90}
here=$(cd "$(dirname "$0")" && pwd)
command -v nvcc >/dev/null || { echo "build_nv_wavenet.sh: nvcc is not on the PATH" >&2; exit 2; }

if [ -e "$checkout/nv_wavenet.cuh" ] || git -C "$checkout" cat-file -e HEAD:nv_wavenet.cuh 2>/dev/null; then
  mkdir -p "$out/sources"
else
  echo "build_nv_wavenet.sh: $checkout is no checkout of nv-wavenet: it has no nv_wavenet.cuh" >&2
  exit 2
fi
if [ -e "$checkout/nv_wavenet.cuh" ]; then
  cp "$checkout"/*.cuh "$out/sources/"
else
  git -C "$checkout" archive HEAD | tar -x -C "$out/sources" --wildcards '*.cuh'
fi
sed -i 's/attributes\.memoryType/attributes.type/' "$out/sources/nv_wavenet_conversions.cuh"

nvcc -std=c++17 -O3 --use_fast_math -DNDEBUG -maxrregcount 128 -w -Xptxas -v \
  -gencode "arch=compute_${architecture#sm_},code=$architecture" \
  -I "$out/sources" "$here/nv_wavenet_driver.cu" -o "$out/nv_wavenet" 2>"$out/resources" || { cat "$out/resources" >&2; exit 1; }
echo "$out/nv_wavenet for $architecture; its registers and spills are in $out/resources"
