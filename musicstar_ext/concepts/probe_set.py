"""What a network is asked to tell: short clips of notes by sound fonts, with exact labels.

| clips | who plays | labels |
|---|---|---|
| notes | 16 instruments of 8 families | pitch class, octave, register, instrument, family |
| intervals | one of them, two notes | interval, 1 to 12 semitones |
| chords | one of them, 3 or 4 notes | quality |
| mixtures | the instruments that the model hears, a note each | the pitch class of each |

All instruments play the same two octaves, so pitch says nothing about the instrument, nor the other way round. A clip
belongs to one of three parts: those that probes learn from; others by the same sound fonts, with combinations that the
first part does not have (of instrument and pitch; of the mixture's pitches; intervals and chords on other notes); and
the same by a sound font that is held out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.cache import Cache
from musicstar_ext.data.instruments import can_play
from musicstar_ext.data.scores import Note
from musicstar_ext.runtime.samples import summed

from .families import family_of, name_of
from .playing import PITCH_NAMES, QUALITIES, RATE, play_notes, to_level

SECONDS = 0.4
SOUNDING = 0.38
HEARD = (0.05, 0.35)  # seconds of a clip whose frames count: after the attack begins, before the end
LOWEST, HIGHEST = 60, 83  # C4 to B5
PROGRAMS = (0, 4, 11, 12, 16, 19, 24, 26, 40, 48, 56, 61, 68, 71, 73, 75)
CHORDS = ("major", "minor", "diminished", "suspended", "dominant-seventh")
REGISTERS = ("low", "middle", "high")  # thirds of the range
MIXTURES = 240
HELD_OUT_SHARE = 0.3
LEVEL = -20.0  # dBFS of every clip

TRAINING, PIECES, FONT = "training", "held-out pieces", "held-out font"

Players = Mapping[str, int]
"""{role: General MIDI program}"""


@dataclass(frozen=True)
class Clip:
    """One clip: `played` is (program, notes) for each instrument in it, `labels` {task: class}."""

    group: str
    part: str
    font: Path
    played: tuple[tuple[int, tuple[Note, ...]], ...]
    labels: tuple[tuple[str, str], ...]


def plan_clips(
    training: Sequence[Path], held_out: Path, players: Players, size: float = 1.0, seed: int = 0
) -> list[Clip]:
    """Every clip; a pure function of its arguments.

    Args:
        players: the instruments of the mixtures.
        size: below 1, fewer notes and mixtures, drawn at random; above, more intervals, chords and mixtures (there are
            no more combinations of instrument and pitch).
    """
    chance = random.Random(f"{seed} probe")
    programs = [program for program in PROGRAMS if can_play(program, LOWEST, HIGHEST)]
    pitches = range(LOWEST, HIGHEST + 1)
    clips: list[Clip] = []

    def add(
        group: str,
        combinations: Sequence[tuple],
        held_out_ones: set[tuple],
        repeats: int,
        play: Callable[[tuple], tuple[list, dict[str, str]]],
    ) -> None:
        for combination in combinations:
            for part in (PIECES, FONT) if combination in held_out_ones else (TRAINING,) * repeats:
                font = held_out if part == FONT else chance.choice(list(training))
                played, labels = play(combination)
                clips.append(Clip(group, part, font, tuple(played), tuple(labels.items())))

    def some(combinations: Sequence[tuple], share: float) -> list[tuple]:
        return chance.sample(combinations, round(share * len(combinations)))

    def one(combination: tuple) -> tuple[list, dict[str, str]]:
        program, pitch = combination
        third = (pitch - LOWEST) * len(REGISTERS) // len(pitches)
        labels = {
            "pitch class": PITCH_NAMES[pitch % 12],
            "octave": str(pitch // 12 - 1),
            "register": REGISTERS[third],
            "instrument": name_of(program),
            "family": family_of(program),
        }
        return [(program, _struck([pitch], chance))], labels

    def interval(combination: tuple) -> tuple[list, dict[str, str]]:
        low, step = combination
        program = chance.choice(programs)
        return [(program, _struck([low, low + step], chance))], {"interval": str(step)}

    def chord(combination: tuple) -> tuple[list, dict[str, str]]:
        root, quality = combination
        program = chance.choice(programs)
        return [(program, _struck([root + step for step in QUALITIES[quality]], chance))], {"chord": quality}

    def mixture(combination: tuple) -> tuple[list, dict[str, str]]:
        played = [
            (program, _struck([pitch], chance)) for program, pitch in zip(players.values(), combination, strict=True)
        ]
        labels = {
            f"pitch class of {role}": PITCH_NAMES[pitch % 12] for role, pitch in zip(players, combination, strict=True)
        }
        return played, labels

    repeats = max(1, round(size))
    notes = some(list(product(programs, pitches)), min(1.0, size))
    add("notes", notes, set(some(notes, HELD_OUT_SHARE)), 1, one)
    lows = range(LOWEST, LOWEST + 12)
    # All intervals and chords on a held-out note are held out: a probe must not gain from what it saw there, nor lose.
    kinds = (("intervals", tuple(range(1, 13)), 1, interval), ("chords", CHORDS, 2, chord))
    for group, classes, times, play in kinds:
        combinations: list[tuple] = list(product(lows, classes))
        unheard = set(chance.sample(lows, round(HELD_OUT_SHARE * len(lows))))
        add(group, combinations, {pair for pair in combinations if pair[0] in unheard}, times * repeats, play)
    if len(players) > 1:
        drawn = {tuple(chance.choice(pitches) for _ in players): None for _ in range(round(MIXTURES * size))}
        add("mixtures", list(drawn), set(some(list(drawn), HELD_OUT_SHARE)), 1, mixture)
    return clips


def clip_audio(clip: Clip, cache: Cache) -> NDArray[np.float32]:
    """The clip, 16 kHz, at `LEVEL`; the instruments of a mixture equally loud.

    Raises:
        UserError: fluidsynth or a program is missing.
    """

    def compute() -> dict[str, NDArray]:
        voices = [to_level(play_notes(clip.font, program, notes, SECONDS), LEVEL) for program, notes in clip.played]
        return {"audio": to_level(summed(voices), LEVEL)}

    name, size = clip.font.name, clip.font.stat().st_size
    return cache.arrays("probe", np.zeros(0), compute, clip.played, name, size, SECONDS, LEVEL, RATE)["audio"]


def _struck(pitches: Sequence[int], chance: random.Random) -> tuple[Note, ...]:
    velocity = chance.randint(60, 110)
    return tuple(Note(0.0, SOUNDING, pitch, velocity) for pitch in pitches)
