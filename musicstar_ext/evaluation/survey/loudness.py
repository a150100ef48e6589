"""Loudness of a recording as listeners hear it: ITU-R BS.1770-4, integrated, one channel.

`runtime.level` measures what a model was trained at. This one weights frequencies, so that strings and vibraphone, or
music and noise, of one figure sound equally loud.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.extras import extra_module

BLOCK = 0.4  # seconds; blocks overlap by three quarters
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU below the mean of what passes the absolute gate
OVERSAMPLING = 4


def loudness_lufs(samples: NDArray[np.floating], rate: int) -> float:
    """Integrated loudness in LUFS of [N] samples, full scale at 1; -inf where nothing passes the gates.

    L = -0.691 + 10 log10(mean square of the K-weighted signal over the blocks that pass both gates). Audio shorter than
    a block is one block.

    Raises:
        MissingExtraError: scipy is missing.
    """
    if not len(samples):
        return -math.inf
    weighted = _k_weighted(np.asarray(samples, np.float64), rate)
    length, hop = round(BLOCK * rate), round(BLOCK * rate / 4)
    if len(weighted) < length:
        powers = np.array([np.mean(np.square(weighted))])
    else:
        total = np.concatenate([[0.0], np.cumsum(np.square(weighted))])
        starts = np.arange(0, len(weighted) - length + 1, hop)
        powers = (total[starts + length] - total[starts]) / length
    loud = powers[powers > 10 ** ((ABSOLUTE_GATE + 0.691) / 10)]
    if not len(loud):
        return -math.inf
    loud = loud[loud > loud.mean() * 10 ** (RELATIVE_GATE / 10)]
    return -0.691 + 10 * math.log10(loud.mean())


def true_peak(samples: NDArray[np.floating], rate: int) -> float:
    """Largest magnitude between and at the samples, by fourfold oversampling (BS.1770-4, annex 2); full scale is 1."""
    import soxr

    signal = np.asarray(samples, np.float64)
    if not len(signal):
        return 0.0
    between = soxr.resample(signal, rate, OVERSAMPLING * rate)
    return float(max(np.abs(signal).max(), np.abs(between).max(initial=0.0)))


def _k_weighted(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """The two filters of the standard, given there for 48 kHz, at any rate: a high shelf (the head), then a high pass.

    Their analog parameters, recovered from the standard's coefficients, and the bilinear transform give those
    coefficients back at 48 kHz.
    """
    # High shelf.
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = [
        (high + band * k / q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - band * k / q + k * k) / a0,
        1.0,
        2 * (k * k - 1) / a0,
        (1 - k / q + k * k) / a0,
    ]
    # High pass; its numerator is 1, -2, 1 in the standard.
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    return np.asarray(extra_module("scipy.signal").sosfilt(np.array([shelf, high_pass]), samples))
