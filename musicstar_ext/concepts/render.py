"""A set of short tracks with exact labels and a known tree, made with sound fonts.

Each track is one instrument playing one chord for 3 s, in some rhythm, octave, inversion, touch and level, and is:

    instrument -> family          chord (root and quality) -> quality          root          register

Instruments are dealt evenly over the chords, so that neither says anything about the other. The test tracks are played
by a sound font that no other track was played by.

    OUT/concepts.csv    track,concept,cluster,split      what `concepts learn` reads
    OUT/tree.csv        child,parent                     the known tree
    OUT/tracks/*.flac
"""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from musicstar_ext.data.instruments import can_play
from musicstar_ext.data.scores import Note
from musicstar_ext.data.sound_fonts import programs_of
from musicstar_ext.data.synthesis import check_synthesizer
from musicstar_ext.data.workers import working
from musicstar_ext.errors import UserError

from .families import FAMILIES, family_of, name_of, spread_over_families
from .playing import PITCH_NAMES, QUALITIES, RATE, play_notes, to_level

SECONDS = 3.0
SOUNDING = 2.7  # seconds in which notes begin and end
LOWEST, HIGHEST = 36, 90  # MIDI pitches
MIDDLE_FROM, HIGH_FROM = 55.0, 67.0  # mean MIDI pitch of the registers "middle" and "high"
SHARES = (0.7, 0.1, 0.2)
LEVEL, LEVEL_SPREAD = -20.0, 4.0  # dBFS, and how far around it
SOFTEST, LOUDEST = 50, 115


@dataclass(frozen=True)
class Plan:
    """What one track is: played by `program` of `font`, from `notes`, at `level` dBFS."""

    name: str
    split: str
    font: Path
    program: int
    root: int
    quality: str
    notes: tuple[Note, ...]
    level: float

    def labels(self) -> list[tuple[str, str]]:
        """(concept, cluster) of everything that the track is."""
        mean = sum(note.pitch for note in self.notes) / len(self.notes)
        register = "high" if mean >= HIGH_FROM else "middle" if mean >= MIDDLE_FROM else "low"
        family = family_of(self.program)
        root = PITCH_NAMES[self.root]
        return [
            (name_of(self.program), family),
            (family, family),
            (f"{root} {self.quality}", self.quality),
            (self.quality, self.quality),
            (f"root {root}", "root"),
            (f"{register} register", "register"),
        ]

    def tree(self) -> list[tuple[str, str]]:
        """(child, parent) of its concepts that have one."""
        root = PITCH_NAMES[self.root]
        return [(name_of(self.program), family_of(self.program)), (f"{root} {self.quality}", self.quality)]


def plan_tracks(
    training: Sequence[Path], held_out: Path, instruments: int, qualities: Sequence[str], per_chord: int, seed: int
) -> list[Plan]:
    """Every track of a set; a pure function of its arguments.

    Raises:
        UserError: fewer than two instruments that all fonts have, too few tracks, or an unknown quality.
    """
    for quality in qualities:
        if quality not in QUALITIES:
            raise UserError(f"unknown quality {quality!r}; there are {', '.join(QUALITIES)}")
    common = frozenset.intersection(*(programs_of(font) for font in (*training, held_out)))
    playable = [program for members in FAMILIES.values() for program in members if _lowest_notes(program)]
    programs = spread_over_families(common & set(playable), instruments)
    if len(programs) < 2:
        raise UserError("the sound fonts share fewer than two instruments")
    validation, test = round(SHARES[1] * per_chord), round(SHARES[2] * per_chord)
    counts = {"train": per_chord - validation - test, "validation": validation, "test": test}
    if min(counts["train"], test) < 1:
        raise UserError(f"{per_chord} tracks a chord are too few")
    plans: list[Plan] = []
    for split, count in counts.items():
        dealt: list[int] = []
        for copy in range(count):
            for quality in dict.fromkeys(qualities):
                for root in range(12):
                    chance = random.Random(f"{seed} {split} {copy} {quality} {root}")
                    if not dealt:
                        dealt = programs.copy()
                        chance.shuffle(dealt)
                    program = dealt.pop()
                    font = held_out if split == "test" else chance.choice(list(training))
                    notes = _notes(program, root, quality, chance)
                    level = LEVEL + chance.uniform(-LEVEL_SPREAD, LEVEL_SPREAD)
                    name = f"tracks/{len(plans):05d}.flac"
                    plans.append(Plan(name, split, font, program, root, quality, notes, level))
    return plans


def render_set(plans: Sequence[Plan], output: Path, jobs: int, progress: Callable[[str, int, int], None]) -> None:
    """Play every track, and write the set: whole or not at all.

    Raises:
        UserError: `output` is there already, or cannot be written; fluidsynth is missing.
    """
    check_synthesizer()
    if output.exists():
        raise UserError(f"{output}: is there already")
    try:
        unfinished = Path(tempfile.mkdtemp(dir=output.absolute().parent, prefix=".musicstar-", suffix=".part"))
    except OSError as error:
        raise UserError(f"{output}: cannot be made: {error.strerror or error}") from None
    try:
        (unfinished / "tracks").mkdir()
        with working(jobs) as workers:
            done = [workers.submit(render_track, plan, unfinished) for plan in plans]
            for number, future in enumerate(done):
                future.result()
                progress("tracks", number + 1, len(done))
        labels = [[plan.name, concept, cluster, plan.split] for plan in plans for concept, cluster in plan.labels()]
        _write_table(unfinished / "concepts.csv", ["track", "concept", "cluster", "split"], labels)
        tree = sorted({pair for plan in plans for pair in plan.tree()})
        _write_table(unfinished / "tree.csv", ["child", "parent"], tree)
        unfinished.chmod(0o755)
        os.rename(unfinished, output)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def render_track(plan: Plan, folder: Path) -> None:
    """Play one track and write it, 16-bit FLAC."""
    samples = to_level(play_notes(plan.font, plan.program, plan.notes, SECONDS), plan.level)
    soundfile.write(folder / plan.name, np.clip(samples, -1, 1), RATE, subtype="PCM_16")


def _notes(program: int, root: int, quality: str, chance: random.Random) -> tuple[Note, ...]:
    """The chord in close position on one of the instrument's notes, in some inversion, struck or broken."""
    bass = chance.choice([low for low in _lowest_notes(program) if (low - root) % 12 in QUALITIES[quality]])
    above = sorted((root + step - bass) % 12 for step in QUALITIES[quality])
    pitches = [bass + step for step in above]
    velocity = chance.randint(SOFTEST, LOUDEST)
    if chance.random() < 0.5:  # struck once, twice or four times
        strikes = chance.choice((1, 2, 4))
        length = SOUNDING / strikes
        starts = [number * length for number in range(strikes)]
        return tuple(Note(start, length - 0.05, pitch, velocity) for start in starts for pitch in pitches)
    order = pitches if chance.random() < 0.5 else pitches[::-1]
    length = chance.choice((0.2, 0.3, 0.4))
    count = max(int(SOUNDING / length), len(order))
    return tuple(Note(place * length, length - 0.03, order[place % len(order)], velocity) for place in range(count))


@cache
def _lowest_notes(program: int) -> tuple[int, ...]:
    """Notes from which an instrument can play an octave; all twelve pitch classes, or none."""
    lows = tuple(low for low in range(LOWEST, HIGHEST - 11) if can_play(program, low, low + 11))
    return lows if len({low % 12 for low in lows}) == 12 else ()


def _write_table(path: Path, header: list[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
