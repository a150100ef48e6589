"""Samples as callers have them -> one channel of float32, full scale at 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from musicstar_ext.errors import UserError

Audio = NDArray[np.float32]

MOST_CHANNELS = 256


def mono(samples: ArrayLike, first: int = 0) -> Audio:
    """Down-mix by the mean of the channels.

    Args:
        samples: [N] or [N, channels]; floats have full scale at 1, integers at their type's largest value (an
            unsigned type is centred on half of its range, as in 8-bit WAV files).
        first: position of samples[0] in its stream; error messages count from there.

    Shape: [N] float32.

    Raises:
        UserError: another shape, not real numbers, or a sample that is NaN or infinite (and its position).
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2):
        raise UserError(f"samples must be [N] or [N, channels], not of shape {array.shape}")
    if array.ndim == 2 and not 1 <= array.shape[1] <= MOST_CHANNELS:
        raise UserError(f"samples must be [N, channels] with 1 to {MOST_CHANNELS} channels, not of shape {array.shape}")
    scaled = _full_scale_at_one(array)
    if array.ndim == 1:
        mixed = scaled
    else:
        # One channel after the other: a sum whose rounding depends on neither N nor the memory layout.
        mixed = scaled[:, 0].copy()
        for channel in range(1, array.shape[1]):
            mixed += scaled[:, channel]
        mixed /= np.float32(array.shape[1])
    finite = np.isfinite(mixed)
    if not finite.all():
        position = int(np.argmin(finite))
        raise UserError(f"sample {first + position} is not finite ({mixed[position]})")
    return np.ascontiguousarray(mixed)


def reblock(blocks: Iterable[Audio], size: int) -> Iterator[Audio]:
    """The same samples in blocks of exactly `size` (the last may be shorter), however they came."""
    waiting: list[Audio] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count < size:
            continue
        joined = np.concatenate(waiting)
        whole = count - count % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        waiting, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)


def _full_scale_at_one(array: NDArray) -> Audio:
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a float64 beyond float32 turns infinite, and is reported as such
            return array.astype(np.float32, copy=False)
    if array.dtype.kind == "i":
        return (array / 2.0 ** (8 * array.dtype.itemsize - 1)).astype(np.float32)
    if array.dtype.kind == "u":
        half = 2.0 ** (8 * array.dtype.itemsize - 1)
        return ((array - half) / half).astype(np.float32)
    raise UserError(f"samples must be real numbers, not {array.dtype}")
