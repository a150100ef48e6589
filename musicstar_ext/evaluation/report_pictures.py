"""Pictures of a recording for the report: its spectrogram, and beneath it the notes that are found in it."""

from __future__ import annotations

import io
from collections.abc import Sequence, Set

import numpy as np

from musicstar_ext.extras import extra_module
from musicstar_ext.runtime.samples import Audio

from .pitch import HOP
from .recording import RATE

WINDOW, STEP = 1024, 256
RANGE = 80.0  # dB below the loudest bin that are drawn
LOWEST, HIGHEST = 36, 96  # MIDI pitches of the roll: C2 to C7
RIGHT, WRONG, MISSED = "#1a7f37", "#d1242f", "#c9d1d9"


def picture(samples: Audio, found: Sequence[Set[int]], true: Sequence[Set[int]] | None) -> bytes:
    """A PNG: spectrogram above, pitch roll below.

    Args:
        samples: [N] at 16 kHz.
        found: the pitches in each frame of 8 ms.
        true: those of the true recording; found pitches are then green where they agree and red where they do not, and
            grey shows what is missing. None for the true recording itself: all green.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    extra_module("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    seconds = len(samples) / RATE
    levels = _decibels(samples)
    above.imshow(
        levels.T, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, RATE / 2000), vmin=-RANGE, vmax=0
    )
    above.set_ylabel("kHz")
    for colour, sets in _coloured(found, true).items():
        times, pitches = _points(sets)
        below.plot(times, pitches, "s", color=colour, markersize=1.6, markeredgewidth=0)
    below.set(xlabel="seconds", ylabel="pitch", xlim=(0, seconds), ylim=(LOWEST, HIGHEST))
    below.set_yticks([36, 48, 60, 72, 84, 96], ["C2", "C3", "C4", "C5", "C6", "C7"])
    below.grid(axis="y", alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _decibels(samples: Audio) -> np.ndarray:
    """[frames, bins], 0 dB the loudest."""
    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    return 10 * np.log10(np.maximum(power, 1e-12) / max(float(power.max()), 1e-12))


def _coloured(found: Sequence[Set[int]], true: Sequence[Set[int]] | None) -> dict[str, list[Set[int]]]:
    if true is None:
        return {RIGHT: list(found)}
    pairs = list(zip(found, true, strict=False))
    return {
        MISSED: [theirs - ours for ours, theirs in pairs],
        WRONG: [ours - theirs for ours, theirs in pairs],
        RIGHT: [ours & theirs for ours, theirs in pairs],
    }


def _points(sets: Sequence[Set[int]]) -> tuple[list[float], list[int]]:
    points = [(index * HOP / RATE, pitch) for index, pitches in enumerate(sets) for pitch in pitches]
    return [time for time, _ in points], [pitch for _, pitch in points]
