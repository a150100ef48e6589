"""Short recordings of a few notes, for sets whose labels are exact: 16 kHz, one channel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.data.scores import Note
from musicstar_ext.data.synthesis import SoundFont, to_rate
from musicstar_ext.runtime.level import gated_level_dbfs

RATE = 16_000
PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
QUALITIES: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "suspended": (0, 5, 7),
    "dominant-seventh": (0, 4, 7, 10),
    "major-seventh": (0, 4, 7, 11),
    "minor-seventh": (0, 3, 7, 10),
}
"""Semitones over the root; none is a transposition of itself or another, in any inversion but the suspended one's."""

PEAK = 0.98


def play_notes(font: Path, program: int, notes: Sequence[Note], seconds: float) -> NDArray[np.float32]:
    """Notes by one instrument, [seconds * 16,000], cut where they last longer; as loud as the font plays them.

    Raises:
        UserError: fluidsynth or the program is missing.
    """
    audio = _sound_font(font).play([tuple(notes)], program, seconds)
    return to_rate(audio.mean(axis=0), RATE)[: round(seconds * RATE)]


def to_level(samples: NDArray[np.float32], dbfs: float) -> NDArray[np.float32]:
    """The same at a gated level, or as near to it as full scale allows; silence stays silent."""
    level = gated_level_dbfs(samples)
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(level) or not peak:
        return samples
    return samples * np.float32(min(10 ** ((dbfs - level) / 20), PEAK / peak))


@cache
def _sound_font(path: Path) -> SoundFont:
    """A font is loaded once a process."""
    return SoundFont(path)
