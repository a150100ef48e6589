"""Rooms, tone and noise: what lies between an instrument and its recording. Nothing here moves an attack.

A room's answer to a click is the click itself, early reflections, and noise that dies away exponentially, the treble
faster than the bass (Moorer, "About this reverberation business", Computer Music Journal 1979). The click stays where
it was: what the room adds comes after it. Tone is a minimum-phase filter, whose energy comes as early as that of any
filter with its magnitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LN_60_DB = math.log(1000.0)  # an amplitude falls by 60 dB
BASS_EDGE, TREBLE_EDGE = 80.0, 8000.0  # hertz: tone is tilted in between, and level beyond
PIVOT = 1000.0  # hertz: what a tilt leaves as it was
TONE_TAPS = 4096
REFLECTIONS, REFLECTING = 10, 0.05  # early reflections, and the seconds in which they come
BANDS = (250.0, 1000.0, 4000.0)  # hertz: borders of the bands that die away at rates of their own
NOISE_PERIOD = 1 << 19  # samples, about 12 seconds: noise repeats after that
NOISE_BAND = 8000.0  # hertz: a noise floor's level is that below


@dataclass(frozen=True)
class Room:
    """A room as a microphone hears it.

    Attributes:
        decay: seconds in which its bass falls by 60 dB.
        damping: decay of the treble as a share of that of the bass, 0..1.
        delay: seconds from the direct sound to the first reflection.
        wet: share of the energy that is the room's, 0..1.
        seed: of its reflections.
    """

    decay: float
    damping: float
    delay: float
    wet: float
    seed: int

    def reverberation(self, rate: int) -> NDArray[np.float32]:
        """[2, N] float32: what each channel hears after a click of energy 1 - wet; the energy of each is wet.

        The click itself is left out, and the samples before `delay` are zero.
        """
        random = np.random.default_rng(self.seed)
        first = max(1, round(self.delay * rate))
        length = first + max(2, round(self.decay * rate))
        size = 1 << (length - 1).bit_length()
        spectrum = np.fft.rfft(random.standard_normal((2, size)))
        frequencies = np.fft.rfftfreq(size, 1 / rate)
        edges = (0.0, *BANDS, rate)
        seconds = np.arange(length - first) / rate
        tail = np.zeros((2, length))
        for band, (low, high) in enumerate(pairwise(edges)):
            decay = self.decay * self.damping ** (band / (len(edges) - 2))
            noise = np.fft.irfft(spectrum * ((low <= frequencies) & (frequencies < high)), size)
            tail[:, first:] += noise[:, : length - first] * np.exp(-LN_60_DB * seconds / decay)
        tail /= np.sqrt(np.square(tail).sum(axis=1, keepdims=True))
        # Early reflections have half of the room's energy. A sound comes to both channels within half a millisecond.
        early = np.zeros((2, length))
        times = first + random.uniform(0, min(REFLECTING, self.decay), REFLECTIONS) * rate
        strengths = np.exp(-LN_60_DB * (times - first) / rate / self.decay) * random.choice((-1.0, 1.0), REFLECTIONS)
        for channel in early:
            at = np.rint(times + random.uniform(0, 0.0005, REFLECTIONS) * rate).astype(int)
            np.add.at(channel, np.minimum(at, length - 1), strengths * random.uniform(0.5, 1.0, REFLECTIONS))
        early /= np.sqrt(np.square(early).sum(axis=1, keepdims=True))
        both = tail + early
        return (both * math.sqrt(self.wet) / np.sqrt(np.square(both).sum(axis=1, keepdims=True))).astype(np.float32)


def record(audio: NDArray[np.float32], rate: int, tilt: float = 0.0, room: Room | None = None) -> NDArray[np.float32]:
    """Sound as recorded: [2, N] -> [2, N] float32.

    Args:
        tilt: decibels an octave by which the treble is raised.
        room: it answers to the mean of both channels.
    """
    if not tilt and room is None:
        return audio
    direct = tone_filter(tilt, rate)
    if room is None:
        return _filter(audio, direct, None)
    answer = room.reverberation(rate)
    taps = len(direct) + answer.shape[1] - 1
    size = 1 << (taps - 1).bit_length()
    answer = np.fft.irfft(np.fft.rfft(answer, size) * np.fft.rfft(direct, size), size)[:, :taps].astype(np.float32)
    return _filter(audio, direct * np.float32(math.sqrt(1 - room.wet)), answer)


def tone_filter(tilt: float, rate: int) -> NDArray[np.float32]:
    """[TONE_TAPS] float32: the minimum-phase filter whose magnitude rises by `tilt` decibels an octave, 0 dB at 1 kHz.

    Its phase is the Hilbert transform of its log magnitude: the cepstrum folded onto positive times (Oppenheim and
    Schafer, Discrete-Time Signal Processing, chapter 13).
    """
    size = 4 * TONE_TAPS
    frequencies = np.clip(np.fft.rfftfreq(size, 1 / rate), BASS_EDGE, TREBLE_EDGE)
    cepstrum = np.fft.irfft(np.log(10) / 20 * tilt * np.log2(frequencies / PIVOT), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:TONE_TAPS].astype(np.float32)


def noise_floor(samples: int, rate: int, level: float, slope: float, seed: int) -> NDArray[np.float32]:
    """[2, samples] float32: steady noise, each channel its own.

    Args:
        level: dBFS, root mean square, of the mean of both channels below 8 kHz: as the 16 kHz mono track has it.
        slope: decibels an octave, 0 for white noise, -3 for pink.
    """
    random = np.random.default_rng([seed, 1])  # not the numbers that a room of this seed is made of
    frequencies = np.fft.rfftfreq(NOISE_PERIOD, 1 / rate)
    shape = (np.maximum(frequencies, BASS_EDGE) / PIVOT) ** (slope / (20 * math.log10(2)))
    shape[frequencies < BASS_EDGE / 4] = 0
    spectrum = shape * (random.standard_normal((2, len(shape))) + 1j * random.standard_normal((2, len(shape))))
    band = np.abs(spectrum.mean(axis=0)[frequencies < NOISE_BAND])
    rms = math.sqrt(2 * float(np.square(band).sum())) / NOISE_PERIOD  # Parseval
    noise = np.fft.irfft(spectrum * (10 ** (level / 20) / rms), NOISE_PERIOD).astype(np.float32)
    return np.tile(noise, -(-samples // NOISE_PERIOD))[:, :samples]


def _filter(
    audio: NDArray[np.float32], direct: NDArray[np.float32], answer: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """[2, N]: both channels through `direct`, plus their mean through each row of `answer`; overlap-add, cut at N."""
    taps = len(direct) if answer is None else answer.shape[1]
    size = max(1 << 16, 1 << (4 * taps - 1).bit_length())  # longer ones gain little
    step = size - taps + 1
    own = np.fft.rfft(direct, size)
    room = None if answer is None else np.fft.rfft(answer, size)
    result = np.zeros((2, audio.shape[1] + size), np.float32)
    for start in range(0, audio.shape[1], step):
        spectrum = np.fft.rfft(audio[:, start : start + step], size)
        filtered = spectrum * own
        if room is not None:
            filtered += spectrum.mean(axis=0) * room
        result[:, start : start + size] += np.fft.irfft(filtered, size)
    return result[:, : audio.shape[1]]
