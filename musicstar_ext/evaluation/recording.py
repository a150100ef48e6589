"""Recordings as the measures take them: 16 kHz, one channel, float32; and two of them cut to one length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.audio_reading import open_audio, read_mono
from musicstar_ext.runtime.resampling import check_rate, resample
from musicstar_ext.runtime.samples import Audio, mono

RATE = 16_000  # hertz: every published figure is measured at it
SHORTEST = 0.25  # seconds that can be compared at all
SMALL_DIFFERENCE = 0.1  # seconds that two lengths may differ by without a warning
LARGEST_DIFFERENCE = 0.1  # share of the longer one, from which on they are not the same music
SILENCE = 1e-4  # a recording whose largest sample is below -80 dBFS is silent


def read_recording(path: Path) -> Audio:
    """A file as [N] float32 at 16 kHz: the mean of its channels, resampled.

    Raises:
        UserError: not audio, damaged, of an odd rate, not finite, or shorter than a quarter of a second.
    """
    file = open_audio(path)
    blocks = list(resample(read_mono(file), file.rate, RATE))
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(samples) < SHORTEST * RATE:
        raise UserError(f"{path}: {len(samples) / RATE:.3f} s are too short to compare (at least {SHORTEST} s)")
    return samples


def to_recording(samples: ArrayLike, sample_rate: float) -> Audio:
    """Samples in memory as `read_recording` returns a file's; [N] or [N, channels], integers or floats.

    Raises:
        UserError: an odd shape or rate, or a sample that is not finite.
    """
    check_rate(sample_rate)
    blocks = list(resample([mono(samples)], sample_rate, RATE))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def is_silent(samples: Audio) -> bool:
    return float(np.abs(samples).max(initial=0.0)) < SILENCE


def length_warning(output: Audio, gold: Audio, name: str = "the output") -> str:
    """One line where the lengths differ by more than 0.1 s, else nothing.

    Raises:
        UserError: they differ by more than a tenth of the longer.
    """
    difference = abs(len(output) - len(gold))
    lengths = f"{name} lasts {len(output) / RATE:.2f} s and the true recording {len(gold) / RATE:.2f} s"
    if difference > LARGEST_DIFFERENCE * max(len(output), len(gold)):
        raise UserError(f"{lengths}: they are not the same music")
    return f"{lengths}: compared up to the shorter" if difference > SMALL_DIFFERENCE * RATE else ""


def cut_to_shortest(recordings: Sequence[Audio]) -> list[Audio]:
    """All cut to the length of the shortest, as published."""
    shortest = min(len(samples) for samples in recordings)
    return [samples[:shortest] for samples in recordings]
