"""How each stem of a piece is played and recorded: the same way throughout, or, for a source, in ever other ways.

A model that is to understand real recordings has to meet its source in many sound fonts, rooms, tunings and levels;
what it learns to play should be one pair of instruments. So `--source DOMAIN` varies that domain alone, and the others
are always played by the first of the training fonts, dry. Both play the same notes: what varies moves no attack by more
than `MOST_JITTER`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .instruments import Instrument, can_play, equivalents
from .rooms import Room
from .scores import Note, Voice
from .sound_fonts import programs_of
from .synthesis import BLOCK, SYNTHESIS_RATE

SPREAD = 0.25  # how far apart the outer stems of a domain stand; 1 is one loudspeaker alone
MOST_SPREAD = 0.6
ITSELF = 0.5  # how often the program that was asked for is played, rather than any of its equivalents

COMMON_CENTS, OWN_CENTS = 7.0, 3.0  # largest detuning of a domain, and of a stem against it
SOFTEST_TOUCH, HARDEST_TOUCH = 0.6, 1.6  # exponents of the velocity curve
MOST_JITTER = 0.004  # seconds: two blocks of the synthesizer fit in
COMMON_TILT, OWN_TILT = 1.5, 0.75  # dB an octave
DRY = 0.15  # how often there is no room
DECAY, DAMPING, DELAY, WET = (0.1, 1.2), (0.3, 0.9), (0.003, 0.03), (0.02, 0.4)
QUIET = 0.25  # how often there is no noise
NOISE, NOISE_SLOPE = (-60.0, -45.0), (-4.0, 0.0)  # dBFS of a mixture, dB an octave
ATTENUATION = (-12.0, 0.0)  # dB


@dataclass(frozen=True)
class Performance:
    """How one stem is played and recorded.

    Attributes:
        program: General MIDI program, from 0.
        pan: -1 left .. 1 right.
        cents: that it is tuned too high.
        touch: exponent of its velocity curve; above 1, soft notes are softer.
        jitter: seconds by which its notes are early or late at most.
        tilt: dB an octave.
        noise, noise_slope: dBFS and dB an octave; None without noise.
        seed: of its jitter and noise.
    """

    sound_font: Path
    program: int
    pan: float
    cents: float = 0.0
    touch: float = 1.0
    jitter: float = 0.0
    tilt: float = 0.0
    room: Room | None = None
    noise: float | None = None
    noise_slope: float = 0.0
    seed: int = 0

    def described(self) -> dict[str, Any]:
        """As JSON: what differs from an instrument that is simply played; the sound font by its name."""
        plain = Performance(self.sound_font, self.program, self.pan)
        told = {name: value for name, value in vars(self).items() if value != getattr(plain, name)}
        if self.room:
            told["room"] = vars(self.room)
        return {"sound_font": self.sound_font.name, "program": self.program, "pan": self.pan, **told}


def plain_performances(players: Sequence[Instrument], font: Path) -> dict[str, Performance]:
    """Every stem of a domain by the same font, dry, side by side from left to right."""
    last = max(len(players) - 1, 1)
    places = [SPREAD * (2 * i - (len(players) - 1)) / last for i in range(len(players))]
    return {
        player.stem: Performance(font, player.program, round(place, 3))
        for player, place in zip(players, places, strict=True)
    }


def varied_performances(
    players: Sequence[Instrument], stems: Sequence[Sequence[Voice]], fonts: Sequence[Path], choose: random.Random
) -> dict[str, Performance]:
    """Every stem of a domain in a way of its own; one room, one tuning and one noise for all.

    Args:
        stems: what each of them plays, for an equivalent instrument must be able to.
    """

    def some(span: tuple[float, float], digits: int = 3) -> float:
        return round(choose.uniform(*span), digits)

    cents, tilt = choose.uniform(-COMMON_CENTS, COMMON_CENTS), choose.uniform(-COMMON_TILT, COMMON_TILT)
    is_dry, is_quiet = choose.random() < DRY, choose.random() < QUIET
    decay, damping, delay = some(DECAY), some(DAMPING), some(DELAY, 4)
    noise, slope = choose.uniform(*NOISE) - 10 * math.log10(len(players)), some(NOISE_SLOPE)
    mirrored = choose.choice((-1, 1))
    performances = {}
    for (stem, plain), player, voices in zip(
        plain_performances(players, fonts[0]).items(), players, stems, strict=True
    ):
        font = choose.choice(fonts)
        seed = choose.getrandbits(32)
        wet = some(WET)
        performances[stem] = replace(
            plain,
            sound_font=font,
            program=_program(player, voices, font, choose),
            pan=round(mirrored * plain.pan + choose.uniform(-1, 1) * (MOST_SPREAD - SPREAD), 3),
            cents=round(cents + choose.uniform(-OWN_CENTS, OWN_CENTS), 2),
            touch=round(math.exp(choose.uniform(math.log(SOFTEST_TOUCH), math.log(HARDEST_TOUCH))), 3),
            jitter=some((0.0, MOST_JITTER), 5),
            tilt=round(tilt + choose.uniform(-OWN_TILT, OWN_TILT), 3),
            room=None if is_dry else Room(decay, damping, delay, wet, seed),
            noise=None if is_quiet else round(noise, 2),
            noise_slope=0.0 if is_quiet else slope,
            seed=seed,
        )
    return performances


def sounding_notes(voices: Sequence[Voice], performance: Performance) -> tuple[Voice, ...]:
    """The voices of a stem as they sound: with its touch and its jitter, on the synthesizer's blocks.

    A key is let go before it is struck again, and no note begins before the piece.
    """
    choose = random.Random(f"jitter {performance.seed}")
    return tuple(_sounding(voice, performance, choose) for voice in voices)


def _sounding(voice: Voice, performance: Performance, choose: random.Random) -> Voice:
    second = SYNTHESIS_RATE / BLOCK  # in blocks
    most = math.floor(performance.jitter * second)
    played = []
    for note in voice:
        moved = choose.randint(-most, most) if most else 0
        start = max(0, round(note.start * second) + moved)
        stop = max(start + 1, round((note.start + note.duration) * second) + moved)
        velocity = min(max(round(127 * (note.velocity / 127) ** performance.touch), 1), 127)
        played.append((start, stop, note.pitch, velocity))
    again: dict[int, int] = {}  # pitch -> the block in which its key is struck next
    notes = []
    for start, stop, pitch, velocity in sorted(played, reverse=True):
        if again.get(pitch) == start:  # two very short notes that have come to fall together
            continue
        stop = min(stop, again.get(pitch, stop))
        again[pitch] = start
        notes.append(Note(start / second, (stop - start) / second, pitch, velocity))
    return tuple(reversed(notes))


def _program(player: Instrument, voices: Sequence[Voice], font: Path, choose: random.Random) -> int:
    """The program that was asked for, or one of its equivalents that the font has and that can play the notes."""
    pitches = [note.pitch for voice in voices for note in voice]
    there = programs_of(font)
    others = [
        program
        for program in equivalents(player.program)
        if program == player.program or (program in there and can_play(program, min(pitches), max(pitches)))
    ]
    return player.program if choose.random() < ITSELF else choose.choice(others)
