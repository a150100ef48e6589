"""One piece: every stem played and recorded as planned, and mixed.

Levels: the stems of a mixture are brought to the planned balance (instruments of a sound font differ in loudness by
more than a mixture should), and one gain a domain then makes it peak at -3 dBFS, less what is planned. The peak is the
largest of stems and mixture, in stereo at 44.1 kHz and in mono at 16 kHz, so that both copies have the same gain: the
16 kHz track is the mean of both channels of the 44.1 kHz one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.level import gated_level_dbfs

from .plan import PiecePlan
from .rooms import noise_floor, record
from .synthesis import SYNTHESIS_RATE, SoundFont, to_rate
from .variety import Performance, sounding_notes

SAMPLE_RATE = 16_000
PEAK = 10 ** (-3 / 20)
FULL_SCALE = 32767


@dataclass
class Mix:
    """A mixed piece.

    Attributes:
        tracks: {track: [samples] int16} at 16 kHz, mono; a mixture is exactly the sum of its stems.
        full_rate: {track: [samples, 2] int16} at 44.1 kHz, likewise; empty where it was not asked for.
        notes: {stem: [[start, duration, MIDI pitch, MIDI velocity], ...]} in seconds, as they sound.
        gains: {stem: dB that was put on what the synthesizer gave}.
    """

    tracks: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    full_rate: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    notes: dict[str, list[list[float]]] = field(default_factory=dict)
    gains: dict[str, float] = field(default_factory=dict)


def mix_piece(plan: PiecePlan, font: Callable[[Path], SoundFont], full_rate: bool = False) -> Mix:
    """Play and mix one piece; `font` gives the loaded sound font of a path.

    Raises:
        UserError: a sound font lacks a program, or gives silence.
    """
    mix = Mix()
    for domain in plan.performances:
        _mix_domain(plan, domain, font, full_rate, mix)
    return mix


def _mix_domain(plan: PiecePlan, domain: str, font: Callable[[Path], SoundFont], full_rate: bool, mix: Mix) -> None:
    wide: dict[str, NDArray[np.float32]] = {}  # [2, N] at 44.1 kHz
    narrow: dict[str, NDArray[np.float32]] = {}  # [samples] at 16 kHz
    relative: dict[str, float] = {}  # gains that give the planned balance
    for (stem, performance), voices, balance in zip(
        plan.performances[domain].items(), plan.score.stems, plan.balances, strict=True
    ):
        sounding = sounding_notes(voices, performance)
        notes = sorted(note for voice in sounding for note in voice)
        mix.notes[stem] = [[round(n.start, 6), round(n.duration, 6), n.pitch, n.velocity] for n in notes]
        played = font(performance.sound_font).play(sounding, performance.program, plan.score.seconds, performance.cents)
        wide[stem] = record(played, SYNTHESIS_RATE, performance.tilt, performance.room)
        wide[stem] *= np.array([[1 - performance.pan], [1 + performance.pan]], np.float32)
        narrow[stem] = _mono(wide[stem])
        level = _level(narrow[stem])
        if not math.isfinite(level):
            raise UserError(f"{performance.sound_font}: the sound font gives silence for {stem}")
        relative[stem] = 10 ** ((balance - level) / 20)
    peak = max(_peak(wide, relative), _peak(narrow, relative))
    gain = PEAK / peak * 10 ** (plan.attenuation[domain] / 20)
    for stem, performance in plan.performances[domain].items():
        stem_gain = gain * relative[stem]
        mix.gains[stem] = round(20 * math.log10(stem_gain), 3)
        noise = _noise(performance, wide[stem].shape[1])
        mix.tracks[stem] = _to_int16(narrow[stem] * np.float32(stem_gain), None if noise is None else _mono(noise))
        if full_rate:
            mix.full_rate[stem] = _to_int16(wide[stem] * np.float32(stem_gain), noise).T
    for tracks in (mix.tracks, mix.full_rate) if full_rate else (mix.tracks,):
        tracks[domain] = np.sum([tracks[stem] for stem in narrow], axis=0, dtype=np.int16)


def _mono(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """[2, N] at 44.1 kHz -> [samples] at 16 kHz."""
    return to_rate((audio[0] + audio[1]) * np.float32(0.5), SAMPLE_RATE)


def _level(audio: NDArray[np.float32]) -> float:
    """Gated level in dBFS, the gate at 60 dB below the peak: a synthesizer plays softly. -inf for silence."""
    peak = _largest(audio)
    return 20 * math.log10(peak) + gated_level_dbfs(audio / np.float32(peak)) if peak else -math.inf


def _peak(stems: dict[str, NDArray[np.float32]], gains: dict[str, float]) -> float:
    """The largest sample of the stems and of their sum; the stems' are hardly larger, but nothing may clip."""
    total, peak = np.zeros_like(next(iter(stems.values()))), 0.0
    for stem, audio in stems.items():
        total += audio * np.float32(gains[stem])
        peak = max(peak, gains[stem] * _largest(audio))
    return max(peak, _largest(total))


def _largest(audio: NDArray[np.float32]) -> float:
    return max(float(audio.max()), -float(audio.min()))


def _noise(performance: Performance, samples: int) -> NDArray[np.float32] | None:
    """[2, samples] at 44.1 kHz."""
    if performance.noise is None:
        return None
    return noise_floor(samples, SYNTHESIS_RATE, performance.noise, performance.noise_slope, performance.seed)


def _to_int16(audio: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.int16]:
    return np.round((audio if noise is None else audio + noise) * FULL_SCALE).astype(np.int16)
