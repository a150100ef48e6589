"""How far one recording lags behind another of the same music, played by other instruments.

What two instruments share is when a pitch begins. So each recording becomes a sequence of onsets for every semitone
(the rise of the logarithmic energy in a band around it), and the two are correlated band by band:

    c[lag] = sum_bt a[b, t] b[b, t + lag] / sqrt(sum a^2 sum b^2)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 100
WINDOW = 0.128  # seconds; 7.8 Hz, a semitone at 130 Hz
LOWEST_PITCH, HIGHEST_PITCH = 45, 105  # MIDI: A2, A7
AT_A_TIME = 2048  # frames


def onsets(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """The rise of energy in each semitone: [N] -> [bands, frames], 100 frames a second, each band's mean 0."""
    hop, size = sample_rate // FRAMES_PER_SECOND, round(WINDOW * sample_rate)
    if len(samples) < size + hop:
        return np.zeros((HIGHEST_PITCH - LOWEST_PITCH, 0), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    window = np.hanning(size).astype(np.float32) / np.float32(size / 4)
    bands = _bands(size, sample_rate)
    parts = []
    for start in range(0, len(frames), AT_A_TIME):
        spectrum = np.abs(np.fft.rfft(frames[start : start + AT_A_TIME] * window)).astype(np.float32)
        parts.append(np.log1p(np.float32(1000) * np.sqrt(np.square(spectrum) @ bands)))
    energy = np.concatenate(parts)
    rise = np.maximum(energy[3:] - energy[:-3], 0)
    return (rise - rise.mean(axis=0)).T


def correlation(first: NDArray[np.float32], second: NDArray[np.float32], most: int) -> NDArray[np.float64]:
    """c[lag + most] for lags of -most..most frames, above 0 where the second is late; zeros where one has no onsets.

    Args:
        first, second: [bands, frames].
    """
    length = 1 << (first.shape[1] + most).bit_length()
    scale = float(np.sqrt(np.square(first, dtype=np.float64).sum() * np.square(second, dtype=np.float64).sum()))
    if not scale:
        return np.zeros(2 * most + 1)
    product = np.zeros(length // 2 + 1, np.complex128)
    for a, b in zip(first, second, strict=True):
        product += np.fft.rfft(a, length).conj() * np.fft.rfft(b, length)
    lags = np.fft.irfft(product, length)
    return np.concatenate([lags[-most:], lags[: most + 1]]) / scale


def _bands(size: int, sample_rate: int) -> NDArray[np.float32]:
    """[size // 2 + 1, bands]: 1 where a bin of the spectrum is nearest to a semitone, else 0; a bin at least each."""
    frequencies = np.arange(size // 2 + 1) * sample_rate / size
    pitches = 69 + 12 * np.log2(np.maximum(frequencies, 1e-3) / 440)
    wanted = np.arange(LOWEST_PITCH, HIGHEST_PITCH)
    bands = (np.abs(pitches[:, None] - wanted) <= 0.5).astype(np.float32)
    nearest = np.abs(frequencies[:, None] - 440 * 2 ** ((wanted - 69) / 12)).argmin(axis=0)
    bands[nearest, np.arange(len(wanted))] = 1
    return bands
