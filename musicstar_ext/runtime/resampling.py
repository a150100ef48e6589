"""Any sample rate -> the model's, as a stream whose output has the input's duration to the sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from musicstar_ext.errors import UserError

from .samples import Audio, reblock

LOWEST_RATE = 1_000
HIGHEST_RATE = 768_000
BLOCK = 16_384  # samples handed to soxr at once


def check_rate(sample_rate: float) -> None:
    """Raises UserError for a sample rate that is not a number of hertz between 1,000 and 768,000."""
    sensible = isinstance(sample_rate, (int, float, np.integer, np.floating)) and not isinstance(sample_rate, bool)
    if not sensible or not math.isfinite(sample_rate) or not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise UserError(f"sample rate must be between {LOWEST_RATE} and {HIGHEST_RATE} Hz, not {sample_rate!r}")


def resampled_length(samples: int, source_rate: float, target_rate: int) -> int:
    """Samples after resampling: the same duration, rounded to the nearest sample."""
    return round(samples * target_rate / source_rate)


def resample(blocks: Iterable[Audio], source_rate: float, target_rate: int, channels: int = 0) -> Iterator[Audio]:
    """Resample a stream of [n] float32 blocks with soxr (high quality), in bounded memory.

    With `channels` the blocks are [n, channels]. All blocks together hold `resampled_length` samples. They are the same
    however the input was cut: soxr is fed in blocks of one size.
    """
    if source_rate == target_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(source_rate, target_rate, channels or 1, dtype="float32")
    consumed = produced = 0
    for block in reblock(blocks, BLOCK):
        consumed += len(block)
        out = stream.resample_chunk(block)
        produced += len(out)
        if len(out):
            yield out
    tail = stream.resample_chunk(np.zeros((0, channels) if channels else 0, np.float32), last=True)
    missing = max(0, resampled_length(consumed, source_rate, target_rate) - produced)
    tail = tail[:missing]  # soxr's own rounding may be one sample off
    if missing:
        yield np.pad(tail, [(0, missing - len(tail)), *[(0, 0)] * (tail.ndim - 1)])
