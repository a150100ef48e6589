#!/usr/bin/env bash
# The sets that the shipped models were trained on: sets.sh [--quick] FOLDER
#
#   FOLDER/alike                     4.0 h, 275 pieces: each piece by one of two sound fonts, both domains alike
#   FOLDER/from-strings-piano        1.6 h, 110 pieces: strings and piano in ever other fonts, rooms, tunings and levels,
#   FOLDER/from-clarinet-vibraphone  1.6 h, 110 pieces  the target by the first font, dry (data render --source)
#   FOLDER/strings-piano_to_clarinet-vibraphone, FOLDER/clarinet-vibraphone_to_strings-piano
#                                    the first of these and the one that varies the source, joined by links
#
# Scores: music21's corpus. Sound fonts: Debian's fluid-soundfont-gm and musescore-general-soundfont for training and
# validation, timgm6mb-soundfont for the test pieces alone; with other fonts the sets, and the models, differ.
# About 25 minutes of a core and 5 GB. --quick: a few pieces of each, to see that it all runs.
set -euo pipefail
shopt -s nullglob

quick=
if [[ ${1:-} == --quick ]]; then quick=yes; shift; fi
out=${1:?usage: sets.sh [--quick] FOLDER}
here=$(cd "$(dirname "$0")" && pwd)

first_font=/usr/share/sounds/sf2/FluidR3_GM.sf2
second_font=/usr/share/sounds/sf3/MuseScore_General_Full.sf3
test_font=/usr/share/sounds/sf2/TimGM6mb.sf2
for font in "$first_font" "$second_font" "$test_font"; do
    [[ -e $font ]] || { echo "sets.sh: $font is missing: apt install fluid-soundfont-gm musescore-general-soundfont timgm6mb-soundfont" >&2; exit 2; }
done

# One seed and one split for all: what is held out of one set is held out of the others.
common=(--seed 1 --split "0.9,0.05,0.05" --sound-font "$first_font" --sound-font "$second_font" --test-sound-font "$test_font")
alike=(--hours 4) varied=(--pieces 110)
if [[ $quick ]]; then
    common[3]="0.4,0.3,0.3" # a few pieces are to give all three splits
    alike=(--pieces 4) varied=(--pieces 4)
fi

python -m musicstar_ext.data render "$out/alike" "${alike[@]}" "${common[@]}"
for source in strings-piano clarinet-vibraphone; do
    python -m musicstar_ext.data render "$out/from-$source" "${varied[@]}" "${common[@]}" --source "$source"
done
python "$here/join_sets.py" "$out/strings-piano_to_clarinet-vibraphone" "$out/alike" "$out/from-strings-piano"
python "$here/join_sets.py" "$out/clarinet-vibraphone_to_strings-piano" "$out/alike" "$out/from-clarinet-vibraphone"
