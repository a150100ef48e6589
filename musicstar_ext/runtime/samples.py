"""Samples as callers have them -> float32, full scale at 1; one channel for the model, or as many as are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from musicstar_ext.errors import UserError

Audio = NDArray[np.float32]
Frames = NDArray[np.float32]  # of code: [F, C]

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
    scaled = _full_scale_at_one(_of_good_shape(samples))
    if scaled.ndim == 1:
        mixed = scaled
    else:
        # One channel after the other: a sum whose rounding depends on neither N nor the memory layout.
        mixed = scaled[:, 0].copy()
        for channel in range(1, scaled.shape[1]):
            mixed += scaled[:, channel]
        mixed /= np.float32(scaled.shape[1])
    _check_finite(mixed, first)
    return np.ascontiguousarray(mixed)


def with_channels(samples: ArrayLike, channels: int, first: int = 0) -> Audio:
    """The same recording with a number of channels: as they are where the number is right, else the mean in each.

    Args and errors: as `mono`.

    Shape: [N, channels] float32.
    """
    array = _of_good_shape(samples)
    if array.ndim == 1 or array.shape[1] != channels:
        return np.repeat(mono(array, first)[:, None], channels, axis=1)
    scaled = _full_scale_at_one(array)
    _check_finite(scaled, first)
    return np.ascontiguousarray(scaled)


def summed(signals: Sequence[Audio]) -> Audio:
    """The sum of one or more [n] signals, which may be the only one itself."""
    total = signals[0]
    for signal in signals[1:]:
        total = total + signal
    return total


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


def _of_good_shape(samples: ArrayLike) -> NDArray:
    array = np.asarray(samples)
    if array.ndim not in (1, 2):
        raise UserError(f"samples must be [N] or [N, channels], not of shape {array.shape}")
    if array.ndim == 2 and not 1 <= array.shape[1] <= MOST_CHANNELS:
        raise UserError(f"samples must be [N, channels] with 1 to {MOST_CHANNELS} channels, not of shape {array.shape}")
    return array


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


def _check_finite(samples: Audio, first: int) -> None:
    """Raises UserError for the first time at which a sample of [N] or [N, channels] is NaN or infinite."""
    finite = np.isfinite(samples)
    if not finite.all():
        position = int(np.argmin(finite if finite.ndim == 1 else finite.all(axis=1)))
        value = samples[position] if samples.ndim == 1 else samples[position][~finite[position]][0]
        raise UserError(f"sample {first + position} is not finite ({value})")
