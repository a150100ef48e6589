"""Log-spectral distance: how far two recordings' short-time spectra are apart, in decibels.

    D = mean over frames t of sqrt( mean over bins k of (L_x[t, k] - L_y[t, k])^2 ),  L = 10 log10(max(|X|^2, floor))

(Gray and Markel 1976, the root mean square log spectral measure) over Hann windows of 1024 samples every 256 at 16 kHz.
The floor is 80 dB below the strongest bin of the true recording: without it the depths of silences would decide.
Levels are not matched: an output that is too loud is a distance, too.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.samples import Audio

from .recording import cut_to_shortest

WINDOW, HOP = 1024, 256
RANGE = 80.0  # dB
FRAMES_AT_ONCE = 4096


def log_spectral_distance(output: Audio, gold: Audio) -> float:
    """Distance in dB of two 16 kHz recordings [N], cut to the shorter; 0 for equal ones.

    Raises:
        UserError: less than one window, or a true recording that is digital silence.
    """
    output, gold = cut_to_shortest([output, gold])
    if len(gold) < WINDOW:
        raise UserError(f"{len(gold)} samples are less than one window of {WINDOW}")
    # Block after block, so that an hour needs no more memory than a minute; the floor needs the whole first.
    strongest = max(float(_power(gold, first).max()) for first in _blocks(gold))
    if strongest == 0.0:
        raise UserError("the true recording is silent")
    floor = strongest * 10 ** (-RANGE / 10)
    distances = [
        np.sqrt(np.mean(np.square(_decibels(output, first, floor) - _decibels(gold, first, floor)), axis=1))
        for first in _blocks(gold)
    ]
    return float(np.mean(np.concatenate(distances)))


def _blocks(samples: Audio) -> range:
    """First frames of blocks of frames."""
    return range(0, (len(samples) - WINDOW) // HOP + 1, FRAMES_AT_ONCE)


def _power(samples: Audio, first: int) -> NDArray[np.float64]:
    """|X|^2 of at most FRAMES_AT_ONCE frames, [frames, bins]."""
    frames = sliding_window_view(samples, WINDOW)[first * HOP :: HOP][:FRAMES_AT_ONCE]
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW), axis=1)
    return np.square(spectrum.real) + np.square(spectrum.imag)


def _decibels(samples: Audio, first: int, floor: float) -> NDArray[np.float64]:
    return 10 * np.log10(np.maximum(_power(samples, first), floor))
