"""What the style network hears: MFCC frames without the first coefficient, which is loudness, in segments of 8 s."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module
from musicstar_ext.runtime.samples import Audio

from .recording import RATE

COEFFICIENTS = 13  # of which the first is dropped
FEATURES = COEFFICIENTS - 1
HOP = 500  # samples
SEGMENT_SECONDS = 8
SEGMENT = SEGMENT_SECONDS * RATE // HOP  # frames in a segment, as published: 256
SHORTEST_REST = SEGMENT // 8  # frames (1 s) left over at the end from which on they are in a segment of their own

MFCC = NDArray[np.float32]
"""[12, frames], or [segments, 12, 256]."""


def mfcc(samples: Audio, cache: Cache | None = None) -> MFCC:
    """MFCC of a 16 kHz recording by librosa: 13 coefficients every 500 samples, the first dropped.

    Shape: [12, 1 + samples // 500].

    Raises:
        MissingExtraError: librosa is not installed.
    """
    librosa = extra_module("librosa")

    def compute() -> dict[str, NDArray]:
        found = librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=COEFFICIENTS, hop_length=HOP)
        return {"mfcc": np.ascontiguousarray(found[1:], np.float32)}

    return (cache or Cache(None)).arrays("mfcc", samples, compute, RATE, COEFFICIENTS, HOP, librosa.__version__)["mfcc"]


def segments(frames: MFCC) -> MFCC:
    """Cut [12, frames] into segments of 8 s: [segments, 12, 256].

    One after the other, as published; where 1 s or more is left over, one more segment that ends at the end (and
    overlaps the one before), so that all of a recording counts. A recording below 8 s is repeated until it fills one.

    Raises:
        UserError: no frames.
    """
    count = frames.shape[1]
    if not count:
        raise UserError("there are no frames")
    if count < SEGMENT:
        return np.tile(frames, -(-SEGMENT // count))[None, :, :SEGMENT]
    starts = list(range(0, count - SEGMENT + 1, SEGMENT))
    if count - (starts[-1] + SEGMENT) >= SHORTEST_REST:
        starts.append(count - SEGMENT)
    return np.stack([frames[:, start : start + SEGMENT] for start in starts])


def segments_of(recordings: Sequence[Audio], cache: Cache | None = None) -> MFCC:
    """The segments of all recordings, one recording after the other: [segments, 12, 256]."""
    return np.concatenate([segments(mfcc(samples, cache)) for samples in recordings])
