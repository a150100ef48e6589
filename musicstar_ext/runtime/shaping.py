"""What a decoder plays, brought to the spectrum that the code tells: a time-varying filter (docs/shaping.md).

    E: expected power, from the code (`ExpectedSpectrum`)     P: power of what was played, averaged over 9 windows
    Y: its short-time spectra                                 y = overlap-add of inverse transform of (E / P)^(s/2) Y

Phases, and whatever changes faster than the average, stay the decoder's. All is a stream: the output depends neither on
how audio and frames are cut into blocks, nor on what is still to come beyond half a window and four hops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from musicstar_ext.architecture import SpectrumConfig
from musicstar_ext.checkpoints import Tensors

from .samples import Audio, Frames

Spectra = NDArray[np.float32]  # [n, bins]

HOPS = 8  # a window
AVERAGED = 4  # windows before, and as many after, over which the played power is averaged
MOST_GAIN = np.float32(np.log(10**1.5))  # 30 dB, up or down
GROUP = 16  # frames in one matrix product: always as many, so that a frame's result depends on no other


class ExpectedSpectrum:
    """The network of `nn.spectrum` without torch: code frames -> logarithm of the expected powers."""

    def __init__(self, config: SpectrumConfig, weights: Tensors) -> None:
        self.config = config
        taps = weights["first.weight"].transpose(0, 2, 1).reshape(config.hidden_channels, -1)  # [H, K * C]
        self._layers = [
            (np.ascontiguousarray(matrix.T), bias)
            for matrix, bias in (
                (taps, weights["first.bias"]),
                (weights["second.weight"][:, :, 0], weights["second.bias"]),
                (weights["log_power.weight"][:, :, 0], weights["log_power.bias"]),
            )
        ]

    def of(self, frames: Iterable[Frames]) -> Iterator[Spectra]:
        """Blocks of [F, C] code frames -> as many frames of [F, bins], each when those around it have come."""
        reach = self.config.kernel_size // 2
        silence = np.zeros((reach, self.config.code_channels), np.float32)
        waiting, number = silence, 0  # `number`: of the next frame, the middle one of the first taps in `waiting`
        for block in chain(frames, [silence]):
            waiting = np.concatenate([waiting, block])
            ready = len(waiting) - 2 * reach
            while ready > 0:
                count = min(GROUP - number % GROUP, ready)
                yield self._powers(waiting[: count + 2 * reach], number % GROUP)
                waiting, number, ready = waiting[count:], number + count, ready - count

    def _powers(self, frames: Frames, row: int) -> Spectra:
        """[n + kernel_size - 1, C] -> [n, bins], as rows `row` and on of a group."""
        taps = sliding_window_view(frames, self.config.kernel_size, axis=0)  # [n, C, K]
        x = np.zeros((GROUP, frames.shape[1] * self.config.kernel_size), np.float32)
        x[row : row + len(taps)] = taps.transpose(0, 2, 1).reshape(len(taps), -1)
        for layer, (matrix, bias) in enumerate(self._layers):
            x = (np.maximum(x, 0) if layer else x) @ matrix + bias
        return x[row : row + len(taps)]


def shaped(
    audio: Iterable[Audio], frames: Iterable[Frames], expected: ExpectedSpectrum, strength: float
) -> Iterator[Audio]:
    """Filter what was decoded from code frames.

    Args:
        audio: [n] blocks, in all at most `pool` samples a frame.
        frames: [F, C] blocks; they are read as far ahead as the filter needs.
        strength: 0 to 1, of the filter's gains in decibels.

    Yields:
        [n] blocks, in all as many samples as `audio`.
    """
    window = expected.config.window
    hop = window // HOPS
    analysis = _Analysis(window)
    wanted = _Wanted(expected, frames)
    spectra = np.zeros((AVERAGED, window // 2 + 1), np.complex64)  # from AVERAGED before window `number` on
    sound = np.zeros(window - hop, np.float32)  # overlap-add so far, from the first sample of window `number` on
    number, given, total = 0, -(window - hop), 0

    def play(block: Audio) -> Iterator[Audio]:
        """Filter all windows of which those around have come; `given` counts from the first window's first sample."""
        nonlocal spectra, sound, number, given
        spectra = np.concatenate([spectra, analysis.of(block)])
        count = len(spectra) - 2 * AVERAGED
        if count <= 0:
            return
        gains = _gains(spectra, wanted.around(number, count), strength)
        filtered = analysis.inverse(spectra[AVERAGED : AVERAGED + count] * gains)
        sound = np.concatenate([sound, np.zeros(count * hop, np.float32)])
        for row, samples in enumerate(filtered):
            sound[row * hop : row * hop + window] += samples
        yield sound[max(0, -given) : count * hop]
        sound, spectra = sound[count * hop :], spectra[count:]
        number, given = number + count, given + count * hop

    for block in audio:
        total += len(block)
        yield from play(block)
    left = total - max(0, given)
    if left:
        for block in play(np.zeros(window + (AVERAGED + 1) * hop, np.float32)):
            yield block[:left]


class _Analysis:
    """Short-time spectra of a stream: window m covers the samples from (m + 1) hop - window to (m + 1) hop."""

    def __init__(self, window: int) -> None:
        self.window, self.hop = window, window // HOPS
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        self.shape = (hann / np.sqrt(np.sum(hann**2))).astype(np.float32)  # white noise has its variance in each bin
        self.restored = (hann * np.sqrt(np.sum(hann**2)) / (HOPS * 3 / 8)).astype(np.float32)
        self._waiting = np.zeros(window - self.hop, np.float32)

    def of(self, block: Audio) -> NDArray[np.complex64]:
        """The spectra of the windows that end in this block: [n, bins]."""
        self._waiting = np.concatenate([self._waiting, block])
        count = (len(self._waiting) - self.window) // self.hop + 1
        if count <= 0:
            return np.zeros((0, self.window // 2 + 1), np.complex64)
        windows = sliding_window_view(self._waiting, self.window)[: count * self.hop : self.hop]
        self._waiting = self._waiting[count * self.hop :]
        return np.fft.rfft(windows * self.shape).astype(np.complex64)

    def inverse(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """What each window adds to the sound: [n, bins] -> [n, window]."""
        return np.fft.irfft(spectra, self.window).astype(np.float32) * self.restored


class _Wanted:
    """The expected log powers in the middle of each window, between those of the nearest two code frames."""

    def __init__(self, expected: ExpectedSpectrum, frames: Iterable[Frames]) -> None:
        self.config = expected.config
        self._coming = expected.of(frames)
        self._powers: Spectra = np.zeros((0, self.config.bins), np.float32)  # from frame `_first` on
        self._first = 0

    def around(self, number: int, count: int) -> Spectra:
        """Of windows `number` and on: [count, bins]; earlier ones are not asked for again."""
        window, pool = self.config.window, self.config.pool
        middles = (number + 1 + np.arange(count)) * (window // HOPS) - window // 2
        place = (middles - pool / 2) / pool  # in frames
        before = np.floor(place).astype(np.int64)
        share = (place - before).astype(np.float32)[:, None]
        while self._first + len(self._powers) <= max(0, before[-1] + 1):
            more = next(self._coming, None)
            if more is None:
                break
            self._powers = np.concatenate([self._powers, more])
        last = len(self._powers) - 1
        left, right = (np.clip(at - self._first, 0, last) for at in (before, before + 1))
        result = (1 - share) * self._powers[left] + share * self._powers[right]
        self._powers, self._first = self._powers[left[-1] :], self._first + int(left[-1])
        return result


def _gains(spectra: NDArray[np.complex64], wanted: Spectra, strength: float) -> Spectra:
    """Spectra of all windows that are averaged, [n + 2 AVERAGED, bins], and log powers [n, bins] -> [n, bins]."""
    power = spectra.real**2 + spectra.imag**2
    count = len(wanted)
    played = np.zeros_like(wanted)
    for shift in range(2 * AVERAGED + 1):  # one after the other: the same sum however the windows come
        played += power[shift : shift + count]
    played = played / np.float32(2 * AVERAGED + 1) + np.float32(SpectrumConfig.floor)
    gain = np.clip(np.float32(0.5) * (wanted - np.log(played)), -MOST_GAIN, MOST_GAIN)
    return np.exp(np.float32(strength) * gain)
