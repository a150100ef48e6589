"""Which pitches sound in each frame of a recording, by Melodia's multi-pitch estimation.

Salamon and Gomez 2012 as Essentia implements it (`MultiPitchMelodia`), with all parameters at their defaults but the
sample rate: the setting of the published content measure. Frames are 8 ms apart (128 samples at 16 kHz).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.cache import Cache
from musicstar_ext.extras import extra_module
from musicstar_ext.runtime.samples import Audio

from .recording import RATE

HOP = 128  # samples between two frames
REFERENCE_HZ, REFERENCE_PITCH = 440.0, 69

Frames = list[NDArray[np.float32]]
"""For each frame the frequencies that sound in it, in hertz; a frame of silence is empty."""


def multi_pitch(samples: Audio, cache: Cache | None = None) -> Frames:
    """The frequencies in each frame of a 16 kHz recording.

    Raises:
        MissingExtraError: essentia is not installed.
    """
    standard, version = _essentia()

    def compute() -> dict[str, NDArray]:
        frames = standard.MultiPitchMelodia(sampleRate=RATE)(np.ascontiguousarray(samples, np.float32))
        sounding = [np.asarray(frame, np.float32)[np.asarray(frame) > 0] for frame in frames]
        counts = np.array([len(frame) for frame in sounding], np.int64)
        return {"counts": counts, "frequencies": np.concatenate([np.zeros(0, np.float32), *sounding])}

    found = (cache or Cache(None)).arrays("melodia", samples, compute, RATE, version)
    return list(np.split(found["frequencies"], np.cumsum(found["counts"])[:-1]))


def check_melodia() -> None:
    """Raises MissingExtraError where essentia is not installed."""
    _essentia()


def frame_times(frames: int) -> NDArray[np.float64]:
    """Seconds at which frames 0 ... frames - 1 stand."""
    return np.arange(frames, dtype=np.float64) * (HOP / RATE)


def nearest_pitch(frequency: float) -> int:
    """MIDI pitch of a frequency in hertz, as published: int(12 log2(f / 440) + 69 + 0.5)."""
    return int(12 * np.log2(frequency / REFERENCE_HZ) + REFERENCE_PITCH + 0.5)


def pitch_sets(frames: Sequence[NDArray]) -> list[frozenset[int]]:
    """The set of MIDI pitches that sound in each frame."""
    return [frozenset(nearest_pitch(float(frequency)) for frequency in frame if frequency > 0) for frame in frames]


@functools.cache
def _essentia() -> tuple[Any, str]:
    """Essentia's algorithms, and its version. It would tell of every import and every silent frame: hushed."""
    essentia = extra_module("essentia", "melodia")
    essentia.log.infoActive = False
    essentia.log.warningActive = False
    return extra_module("essentia.standard", "melodia"), str(essentia.__version__)
