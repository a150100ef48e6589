"""From a written score to what is played: an excerpt, transposed, at a tempo, shared out between the instruments.

All domains play the same notes, so every choice is made once a piece, and pitches are kept where the instruments of
every domain can play them.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .corpus import WrittenNote, WrittenScore

SHORTEST, LONGEST, TYPICAL = 25.0, 90.0, 60.0  # seconds of a piece
MOST_SEMITONES = 5
SLOWER, FASTER = 0.8, 1.25
LEAST_COVERAGE = 0.6  # part of the time that each instrument must play
GAP = 0.03  # seconds between notes of a voice, so that repeated notes are struck again
SOFTEST, LOUDEST = 40, 115
ATTEMPTS = 8


@dataclass(frozen=True, order=True, slots=True)
class Note:
    """A played note: seconds, MIDI pitch, MIDI velocity."""

    start: float
    duration: float
    pitch: int
    velocity: int


Voice = tuple[Note, ...]


@dataclass(frozen=True)
class Score:
    """What is played: for each position of a domain's stems, the voices of that instrument."""

    stems: tuple[tuple[Voice, ...], ...]
    semitones: int  # that it is transposed by
    tempo: float  # quarters a minute
    first_bar: int  # of the excerpt, from 0

    @property
    def seconds(self) -> float:
        """End of the last note."""
        return max(note.start + note.duration for voices in self.stems for voice in voices for note in voice)


def arrange(written: WrittenScore, variant: int, seed: int, ranges: Sequence[tuple[int, int]]) -> Score | None:
    """Play a written score: a pure function of its arguments.

    Args:
        variant: 0, 1, 2, ...: long scores give one excerpt after the other, then (and for short ones at once) the same
            excerpts again in another key, at another tempo, with the voices shared out differently.
        ranges: for each instrument, the lowest and highest MIDI pitch that it may play, at least an octave apart.

    Returns:
        None where the score has fewer parts than there are instruments, is too short, or leaves one of them without
        much to play.
    """
    choose = random.Random(f"arrange {seed} {written.name} {variant}")
    tempo = written.tempo * math.exp(choose.uniform(math.log(SLOWER), math.log(FASTER)))
    semitones = choose.randint(-MOST_SEMITONES, MOST_SEMITONES)
    if len(written.parts) < len(ranges) or written.quarters * 60 / tempo < SHORTEST:
        return None
    first, last = _excerpt(written, tempo, variant)
    parts = [voice for part in written.parts if (voice := _cut(part, first, last))]
    if len(parts) < len(ranges):
        return None
    groups = _share_out(parts, len(ranges), last - first, choose)
    if groups is None:
        return None
    stems = tuple(
        tuple(_play(voice, semitones, pitch_range, tempo, written.bar, choose) for voice in group)
        for group, pitch_range in zip(groups, ranges, strict=True)
    )
    return Score(stems, semitones, round(tempo, 3), round(first / written.bar))


def _excerpt(written: WrittenScore, tempo: float, variant: int) -> tuple[float, float]:
    """First and last quarter of an excerpt of about a minute, at bar lines."""
    quarters = written.quarters
    seconds = quarters * 60 / tempo
    count = 1 if seconds <= LONGEST else round(seconds / TYPICAL)
    index = variant % count

    def border(i: int) -> float:
        return quarters if i == count else round(quarters * i / count / written.bar) * written.bar

    return border(index), border(index + 1)


def _cut(part: Sequence[WrittenNote], first: float, last: float) -> list[WrittenNote]:
    """The notes that begin within an excerpt, counted from its first quarter and ended at its last."""
    return [
        WrittenNote(note.start - first, min(note.length, last - note.start), note.pitch)
        for note in part
        if first <= note.start < last
    ]


def _share_out(
    parts: list[list[WrittenNote]], instruments: int, quarters: float, choose: random.Random
) -> list[list[list[WrittenNote]]] | None:
    """Which parts each instrument plays. The first try that keeps them all busy, or None."""
    for _ in range(ATTEMPTS):
        groups, left = [], parts
        for coming in range(instruments - 1, 0, -1):
            mine, left = _take(left, coming, choose)
            groups.append(mine)
        groups.append(left)
        if min(_coverage(group, quarters) for group in groups) >= LEAST_COVERAGE:
            return groups
    return None


def _take(
    parts: list[list[WrittenNote]], coming: int, choose: random.Random
) -> tuple[list[list[WrittenNote]], list[list[WrittenNote]]]:
    """One or two parts for an instrument, and the others; `coming` instruments need at least a part each.

    Mostly it has the top of the page, as a melody instrument does; else the bottom, or any one part, so that a model
    cannot learn which instrument is higher.
    """
    count = 2 if len(parts) >= max(4, coming + 2) and choose.random() < 0.35 else 1
    style = choose.random()
    if style < 0.5:
        first = choose.randint(0, 1) if count == 1 and len(parts) > 2 and choose.random() < 0.3 else 0
    elif style < 0.7:
        first = len(parts) - count
    else:
        first = choose.randint(0, len(parts) - count)
    return parts[first : first + count], parts[:first] + parts[first + count :]


def _coverage(parts: list[list[WrittenNote]], quarters: float) -> float:
    """Part of the time in which at least one of the parts sounds."""
    covered = end = 0.0
    for note in sorted(note for part in parts for note in part):
        stop = note.start + note.length
        covered += max(0.0, stop - max(end, note.start))
        end = max(end, stop)
    return covered / quarters


def _play(
    part: list[WrittenNote],
    semitones: int,
    pitch_range: tuple[int, int],
    tempo: float,
    bar: float,
    choose: random.Random,
) -> Voice:
    """One voice as an instrument plays it: in its range, a little detached, louder and softer in phrases."""
    second = 60 / tempo  # seconds a quarter
    octave = _octave([note.pitch + semitones for note in part], pitch_range)
    loudness = 80 + choose.uniform(-8, 8)
    period, phase = choose.uniform(5, 12), choose.uniform(0, 2 * math.pi)
    middle = sum(note.pitch for note in part) / len(part)
    struck: dict[tuple[float, int], WrittenNote] = {}  # a pitch is struck once at a time
    for note in part:
        pitch = _fold(note.pitch + semitones + octave, pitch_range)
        held = struck.get((note.start, pitch))
        if held is None or held.length < note.length:
            struck[note.start, pitch] = note
    following: dict[int, float] = {}  # pitch -> the quarter at which it is struck next
    notes = []
    for (start, pitch), note in sorted(struck.items(), reverse=True):
        length = min(note.length, following.get(pitch, math.inf) - start)
        following[pitch] = start
        seconds = length * second
        accent = 6 if start % bar == 0 else 3 if start % 1 == 0 else 0
        swell = 14 * math.sin(2 * math.pi * start * second / period + phase)
        velocity = loudness + swell + accent + 0.4 * (note.pitch - middle) + choose.uniform(-4, 4)
        duration = seconds - min(GAP, 0.1 * seconds)
        notes.append(Note(start * second, duration, pitch, round(min(max(velocity, SOFTEST), LOUDEST))))
    return tuple(reversed(notes))


def _octave(pitches: list[int], pitch_range: tuple[int, int]) -> int:
    """The shift by whole octaves that leaves the fewest notes outside a range; the smallest of those."""
    low, high = pitch_range
    counts = Counter(pitches)

    def outside(shift: int) -> int:
        return sum(n for pitch, n in counts.items() if not low <= pitch + shift <= high)

    return min((0, 12, -12, 24, -24, 36, -36), key=outside)


def _fold(pitch: int, pitch_range: tuple[int, int]) -> int:
    """The pitch moved by octaves into a range of more than an octave."""
    low, high = pitch_range
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch
