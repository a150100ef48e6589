#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, tests, sanitizers, repeatability, benchmarks.
#
#   benchmarks/gpu.sh [--dry-run] [STEP ...]      default: all steps, in this order
#
#   build      the core and its native tests, for this GPU alone, in build/gpu (compilers, CMake, Ninja, pybind11, doctest)
#   native     the native tests of the CUDA sources (with GPU=emulated, of the whole core)
#   python     the Python tests marked cuda
#   memcheck   compute-sanitizer over the native tests: memory
#   racecheck  compute-sanitizer over the native tests: races in shared memory
#   repeat     4,000 draws equal the reference's; the sampler a hundred times on the same inputs
#   sampling   against PyTorch, CUDA graphs and nv-wavenet       -> results/sampling-cuda.json
#   encoder    the encoder                                       -> results/encoder-cuda.json
#   translate  a file of three minutes, from end to end          -> results/translate-cuda.json
#   training   stacks and the whole step                         -> results/training-cuda.json
#   precision  what bf16 costs in nats, where CLIPS names StarNet's test clips
#   compiled   the whole step against torch.compile, which starts for minutes  -> results/training-compiled-cuda.json
#
# A step that fails does not stop those after it; the last lines say how each went, and the status is 1 if any failed.
# Environment: RESULTS (a folder; benchmarks/results), NV_WAVENET (a checkout of github.com/NVIDIA/nv-wavenet; left out
# without), CLIPS, PYTHON (python3), LIMIT (seconds that a step may take; 540). CMake finds doctest and pybind11 where
# they are installed, or through CMAKE_PREFIX_PATH. With GPU=emulated it runs what the emulated GPU can: build, native,
# python and repeat; nothing is timed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
all=(build native python memcheck racecheck repeat sampling encoder translate training precision compiled)
dry=
steps=()
for argument; do
  case "$argument" in
    --dry-run) dry=yes ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' benchmarks/gpu.sh; exit ;;
    *)
      [[ " ${all[*]} " == *" $argument "* ]] || { echo "gpu.sh: no step $argument; there are ${all[*]}" >&2; exit 2; }
      steps+=("$argument")
      ;;
  esac
done

gpu=${GPU:-real} python=${PYTHON:-python3} results=${RESULTS:-benchmarks/results} limit=${LIMIT:-540}
case "$gpu" in
  real)
    build=build/gpu
    default=("${all[@]}")
    if capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1) && [ -n "$capability" ]; then
      [ "$capability" = 9.0 ] && architectures=90a-real || architectures="${capability/./}-real"
    elif [ -n "$dry" ]; then
      architectures=90a-real
    else
      echo "gpu.sh: nvidia-smi finds no GPU here; --dry-run shows what would be run, GPU=emulated runs what needs none" >&2
      exit 2
    fi
    options=(-DMUSICSTAR_CUDA=ON "-DMUSICSTAR_CUDA_ARCHITECTURES=$architectures")
    ;;
  emulated)
    build=build/emulated
    default=(build native python repeat)
    options=(-DMUSICSTAR_CUDA=EMULATED -DMUSICSTAR_ONLY_THIS_PROCESSOR=ON)
    export MUSICSTAR_EMULATED_LAUNCHES=$PWD/build/emulated-launches  # tests/cuda/test_resources.py reads it
    ;;
  *) echo "gpu.sh: GPU=$gpu: real or emulated" >&2; exit 2 ;;
esac
[ "${#steps[@]}" -gt 0 ] || steps=("${default[@]}")
tests=$build/tests/native/musicstar_tests
export PYTHONPATH=$PWD/$build:$PWD${PYTHONPATH:+:$PYTHONPATH}

# run COMMAND ...: shows it, and runs it unless this is a dry run.
run() {
  printf '+ %s\n' "$*"
  [ -n "$dry" ] || timeout --kill-after=10 "$limit" "$@"
}

benchmark() { run "$python" "benchmarks/$1.py" --device cuda --save "$results/$1-cuda.json" "${@:2}"; }

sanitizer() { run compute-sanitizer --tool "$1" --error-exitcode 1 "$tests" -ts=cuda; }

step_build() {
  local pybind
  pybind=$("$python" -m pybind11 --cmakedir 2>/dev/null) && options+=("-Dpybind11_DIR=$pybind")
  run cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "-DPython_EXECUTABLE=$(command -v "$python")" \
    -DMUSICSTAR_NATIVE_TESTS=ON "${options[@]}" && run cmake --build "$build" --parallel
}
step_native() {
  if [ "$gpu" = real ]; then
    run "$tests" -ts=cuda
  else  # a processor plays the GPU for each test: as many as there are
    run rm -f "$MUSICSTAR_EMULATED_LAUNCHES"
    run ctest --test-dir "$build" --parallel "$(nproc)" --output-on-failure
  fi
}
step_python() { run "$python" -m pytest -q -m cuda tests; }
step_memcheck() { sanitizer memcheck; }
step_racecheck() { sanitizer racecheck; }
step_repeat() {
  local few=()
  [ "$gpu" = real ] || few=(--quick)
  run "$python" benchmarks/cuda_repeat.py "${few[@]}"
}
step_sampling() {
  local other=() to=build/nv_wavenet
  if [ -n "${NV_WAVENET:-}" ]; then
    run benchmarks/build_nv_wavenet.sh "$NV_WAVENET" "$to" && other=(--nv-wavenet "$to/nv_wavenet")
  fi
  benchmark sampling --lanes 1,8,64,256,512,1024 "${other[@]}"
}
step_encoder() { benchmark encoder; }
step_translate() { benchmark translate --cases full:3,small:3; }
step_training() { benchmark training --no-compile; }
step_compiled() {
  run "$python" benchmarks/training.py --device cuda --sizes full --parts step --save "$results/training-compiled-cuda.json"
}
step_precision() {
  [ -n "${CLIPS:-}" ] || { echo "left out: CLIPS names no folder"; return 0; }
  run "$python" benchmarks/precision.py --device cuda --clips "$CLIPS"
}

if [ -z "$dry" ]; then
  mkdir -p "$results"
  [ "$gpu" = emulated ] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem --format=csv,noheader
fi
failed=0
summary=()
for step in "${steps[@]}"; do
  printf '\n=== %s (%ss)\n' "$step" "$SECONDS"
  before=$SECONDS
  if "step_$step"; then word=passed; else word="FAILED ($?)" failed=1; fi
  summary+=("$step: $word, $((SECONDS - before)) s")
done
printf '\n=== done (%ss)\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
exit "$failed"
