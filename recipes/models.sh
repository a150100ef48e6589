#!/usr/bin/env bash
# Trains the shipped models on the sets of sets.sh: models.sh [--quick] SETS RUNS
#
# Twenty-three trainings of a network of 0.29 M parameters, in the end of 1.61 M, each of which starts where an earlier one
# ended; the results are RUNS/<model>.safetensors. 6 hours of a core in all, no GPU.
# --quick takes a few steps of each, to see that it all runs. Started again, it goes on where it was stopped.
set -euo pipefail

quick=
first_fit=(--hours 0.2 --steps 300)
if [[ ${1:-} == --quick ]]; then quick=yes; first_fit=(--hours 0.01 --steps 5); shift; fi
here=$(cd "$(dirname "$0")" && pwd)
sets=${1:?usage: models.sh [--quick] SETS RUNS} runs=${2:?usage: models.sh [--quick] SETS RUNS}

sp=strings-piano cv=clarinet-vibraphone
sizes=(encoder.blocks=1 encoder.layers=12 encoder.channels=32
       decoder.blocks=2 decoder.layers=10 decoder.residual_channels=32 decoder.skip_channels=32)
how=(initialisation=variance-preserving optimizer=muon warmup_steps=50 decay=1 clip_norm=1 ema=0.999 crop_seconds=0.5 threads=1)

# train RUN SET STEPS ANNEAL_STEPS [SETTING ...]; where the run is there already it goes on to that number of steps
train() {
    local run=$runs/$1 set=$sets/$2 steps=$3 anneal=$4
    shift 4
    if [[ $quick ]]; then steps=$((steps / 300 + 2)) anneal=$((anneal / 300)); fi
    local limits=("steps=$steps" "anneal_steps=$anneal")
    if [[ $quick ]]; then limits+=(validate_every=50 save_every=50); fi
    if [[ -e $run/config.json ]]; then
        python -m musicstar_ext.train mixture-supervised --data "$set" --run "$run" --resume --set "${limits[@]}"
    else
        python -m musicstar_ext.train mixture-supervised --data "$set" --run "$run" --set "${sizes[@]}" "${how[@]}" "${limits[@]}" "$@"
    fi
}

# The first weights, from noise, and the two directions in turn. A direction that starts from the other's weights learns
# to use its code much sooner than one that starts from noise (docs/models.md).
train first alike 1100 0 learning_rate=6e-3 batch=2 source=$sp target=$cv
if [[ ! -e $runs/$sp-before/config.json ]]; then # else $cv-before has gone on, and its best is another by now
    train $cv-before alike 4725 1800 learning_rate=3e-3 batch=1 source=$cv target=$sp init_from="$runs/first/latest.safetensors"
fi
train $sp-before alike 5600 2500 learning_rate=3e-3 batch=1 source=$sp target=$cv init_from="$runs/$cv-before/best.safetensors"
train $cv-before alike 10325 5600

# More sounds to hear, the notes told by the code, a rate that falls from the first step.
train $cv-wide ${cv}_to_$sp 4350 4350 learning_rate=1.5e-3 batch=1 seed=11 note_weight=0.1 source=$cv target=$sp \
    init_from="$runs/$cv-before/best.safetensors"
train $sp-wide ${sp}_to_$cv 4350 4350 learning_rate=2e-3 batch=1 seed=11 note_weight=0.1 source=$sp target=$cv \
    init_from="$runs/$sp-before/best.safetensors"

# Back to the first set, the notes no longer asked for. Neither decoder has learned to play without a code yet.
train $cv-plain alike 1300 1300 learning_rate=1e-3 batch=1 seed=12 source=$cv target=$sp init_from="$runs/$cv-wide/latest.safetensors"
train $sp-plain alike 1300 1300 learning_rate=1e-3 batch=1 seed=12 source=$sp target=$cv init_from="$runs/$sp-wide/latest.safetensors"

# The encoder alone learns to tell the notes, then twice as wide; the decoder gets to understand its new code, and both
# go on together. Codes are dropped, so that the decoder can be guided.
for pair in "$sp $cv 2e-3" "$cv $sp 1.5e-3"; do
    read -r source target rate <<<"$pair"
    set=${source}_to_$target
    direction=("source=$source" "target=$target")
    ears=(learns=encoder note_weight=1 learning_rate=4e-3 ema=0.99 batch=1 seed=21)
    train "$source-notes" "$set" 1300 1300 "${direction[@]}" "${ears[@]}" crop_seconds=2 init_from="$runs/$source-plain/latest.safetensors"
    train "$source-ears" "$set" 2000 2000 "${direction[@]}" "${ears[@]}" crop_seconds=1 encoder.channels=64 \
        init_from="$runs/$source-notes/latest.safetensors"
    python "$here/align_code.py" "$sets/alike" "$runs/$source-ears/latest.safetensors" "$runs/$source-plain/latest.safetensors" \
        "$runs/$source-aligned.safetensors"
    train "$source-plays" "$set" 4500 4500 "${direction[@]}" batch=1 seed=31 encoder.channels=64 learns=decoder code_dropout=0.1 \
        learning_rate="$rate" init_from="$runs/$source-aligned.safetensors"
    train "$source-both" "$set" 1600 1600 "${direction[@]}" batch=1 seed=51 encoder.channels=64 code_dropout=0.1 learning_rate=7e-4 \
        init_from="$runs/$source-plays/latest.safetensors"
    train "$source" alike 800 800 "${direction[@]}" batch=1 seed=61 encoder.channels=64 learns=decoder code_dropout=0.1 \
        learning_rate=7e-4 init_from="$runs/$source-both/latest.safetensors"

    # The code learns to tell the target's spectrum (docs/shaping.md), the decoder, twice as wide, to play from it again.
    python "$here/fit_spectrum.py" "$sets/$set" "$runs/$source/latest.safetensors" "$runs/$source-tells.safetensors" "${first_fit[@]}"
    hears=(learns=encoder spectrum_weight=1 ema=0.99 batch=1 crop_seconds=2 encoder.channels=64)
    train "$source-hears" "$set" 1500 1500 "${direction[@]}" "${hears[@]}" seed=92 learning_rate=2.5e-3 \
        init_from="$runs/$source-tells.safetensors"
    train "$source-hears-more" "$set" 1700 1700 "${direction[@]}" "${hears[@]}" seed=111 learning_rate=2e-3 \
        init_from="$runs/$source-hears/latest.safetensors"
    python "$here/align_code.py" --ridge 1e-3 "$sets/$set" "$runs/$source-hears-more/latest.safetensors" "$runs/$source/latest.safetensors" \
        "$runs/$source-aligned-again.safetensors"
    train "$source-wide-decoder" "$set" 4000 4000 "${direction[@]}" batch=1 seed=121 encoder.channels=64 \
        decoder.residual_channels=64 decoder.skip_channels=64 learns=decoder code_dropout=0.1 learning_rate=2e-3 \
        init_from="$runs/$source-aligned-again.safetensors"
    python "$here/fit_spectrum.py" "$sets/$set" "$runs/$source-wide-decoder/latest.safetensors" "$runs/$source-whole.safetensors" --steps 0 \
        --start "$runs/$source-aligned-again.safetensors"
    python -m musicstar_ext.checkpoints convert "$runs/$source-whole.safetensors" "$runs/${source}_to_$target.safetensors" --dtype bfloat16
done
