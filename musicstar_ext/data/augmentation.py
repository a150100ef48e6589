"""Pitch augmentation: a short span inside a crop is moved by up to half a semitone, and keeps its length.

Mor, Wolf, Polyak and Taigman, "A Universal Music Translation Network" (ICLR 2019), section 3.1: a random span of 0.25
to 0.5 s is shifted by -0.5 to +0.5 semitone, so that an encoder cannot lean on exact pitch while the decoder's teacher
stays undistorted.

The span [a, b) with centre c is read faster or slower around its centre:

    y(t) = x(c + ratio (t - c)),   ratio = 2^(semitones / 12),   a <= t < b

No time stretch is needed to keep the length: within half a second, half a semitone moves the material at the borders by
0.5 * 0.5 s * (2^(1/24) - 1) = 7.3 ms, a seventh of a code frame, and less than a phase vocoder's window smears. Short
cross-fades inside the span's borders avoid clicks; every sample outside the span is untouched. A crop takes half a
millisecond of one core, most of it soxr's design of a filter for its ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

SHORTEST_SECONDS, LONGEST_SECONDS = 0.25, 0.5
LARGEST_SEMITONES = 0.5
FADE_SECONDS = 0.005
MARGIN = 64  # samples that the resampling filter looks at beyond what is read


@dataclass(frozen=True)
class Shifts:
    """What happens to each row of a batch: a span of samples, and by how much its pitch moves; [B] each.

    Attributes:
        starts, lengths: of the spans, in samples.
        semitones: up if positive.
        fade: samples of a cross-fade.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    semitones: NDArray[np.float64]
    fade: int

    def rows(self, rows: slice) -> Shifts:
        return Shifts(self.starts[rows], self.lengths[rows], self.semitones[rows], self.fade)


def draw_shifts(random: np.random.Generator, batch: int, samples: int, sample_rate: int) -> Shifts:
    """Uniform lengths, places and semitones for crops of `samples`.

    A shift upwards reads more than it writes, so a span is at most so long that the crop has enough to read: crops
    of half a second and less have spans of at most 97 % of them.
    """
    length, place, pitch = random.random((3, batch))
    semitones = LARGEST_SEMITONES * (2 * pitch - 1)
    longest = max(0, int(samples / 2 ** (LARGEST_SEMITONES / 12)) - 2)
    seconds = SHORTEST_SECONDS + (LONGEST_SECONDS - SHORTEST_SECONDS) * length
    lengths = np.minimum(np.rint(seconds * sample_rate).astype(np.int64), longest)
    starts = (place * (samples - lengths + 1)).astype(np.int64)
    return Shifts(starts, lengths, semitones, round(FADE_SECONDS * sample_rate))


def shift_spans(crops: NDArray[np.int16], shifts: Shifts) -> NDArray[np.int16]:
    """A copy of the crops, [B, T] or [B, T, channels], each with its span shifted."""
    shifted = crops.copy()
    spans = zip(shifts.starts.tolist(), shifts.lengths.tolist(), shifts.semitones.tolist(), strict=True)
    for crop, row, (start, length, semitones) in zip(crops, shifted, spans, strict=True):
        if length:
            row[start : start + length] = _shift(crop, start, length, 2 ** (semitones / 12), shifts.fade)
    return shifted


def _shift(crop: NDArray[np.int16], start: int, length: int, ratio: float, fade: int) -> NDArray[np.int16]:
    """The span's samples after the shift."""
    span = crop[start : start + length].astype(np.float32)
    # What is read has the span's centre, or one as near to it as the crop's borders allow. It starts at a whole sample:
    # half a sample of time matters to nobody. The margins are for the resampling filter.
    needed = int(np.ceil(length * ratio)) + 1
    first = min(max(start + round(length * (1 - ratio) / 2), 0), len(crop) - needed)
    before = min(first, MARGIN)
    material = crop[first - before : first + needed + MARGIN].astype(np.float32)
    read = soxr.resample(material, ratio, 1.0)[round(before / ratio) :][:length]
    weight = _fades(length, min(fade, length // 4))
    span += (weight[:, None] if span.ndim == 2 else weight) * (read - span)
    return np.clip(np.rint(span), -32768, 32767).astype(np.int16)


def _fades(length: int, fade: int) -> NDArray[np.float32]:
    """How much of the shifted sound is heard: [length], 1 but for linear fades at both ends."""
    weight = np.ones(length, np.float32)
    weight[:fade] = (np.arange(fade) + 0.5) / max(fade, 1)
    weight[length - fade :] = weight[:fade][::-1]
    return weight
