from __future__ import annotations

import math

import numpy as np
import pytest

from musicstar_ext.evaluation.survey.loudness import loudness_lufs, true_peak

pytest.importorskip("scipy")


def sine(frequency: float, seconds: float, rate: int, amplitude: float = 1.0, phase: float = 0.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate + phase)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_the_standard_s_own_check(rate: int):
    """BS.1770-4: a 0 dBFS sine of 997 Hz on one channel reads -3.01 LKFS."""
    assert loudness_lufs(sine(997, 3, rate), rate) == pytest.approx(-3.01, abs=0.1 if rate < 44_100 else 0.02)


def test_a_gain_shifts_it_by_as_much():
    noise = np.random.default_rng(0).standard_normal(48_000) * 0.1
    assert loudness_lufs(noise * 0.5, 16_000) == pytest.approx(loudness_lufs(noise, 16_000) + 20 * math.log10(0.5))


def test_pauses_do_not_count():
    music = sine(500, 4, 16_000, 0.3)
    with_pause = np.concatenate([music, np.zeros(80_000)])
    assert loudness_lufs(with_pause, 16_000) == pytest.approx(loudness_lufs(music, 16_000), abs=0.3)


def test_low_tones_are_less_loud_and_high_ones_more():
    """The K filter: -inf towards 0 Hz, about 0 at 1 kHz, +4 dB above."""
    low, middle, high = (loudness_lufs(sine(f, 2, 48_000, 0.1), 48_000) for f in (25, 1_000, 8_000))
    assert low < middle - 8
    assert high == pytest.approx(middle + 3.3, abs=0.2)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(50_000), np.full(50_000, 1e-9)])
def test_silence_has_none(samples: np.ndarray):
    assert loudness_lufs(samples, 16_000) == -math.inf


def test_audio_shorter_than_a_block_is_one_block():
    assert math.isfinite(loudness_lufs(sine(440, 0.05, 16_000), 16_000))


def test_the_true_peak_lies_between_samples():
    samples = sine(4_000, 1, 16_000, phase=math.pi / 4)  # sampled at +-0.707 only
    assert np.abs(samples).max() == pytest.approx(math.sqrt(0.5))
    assert true_peak(samples, 16_000) == pytest.approx(1.0, abs=0.05)
    assert true_peak(np.zeros(0), 16_000) == 0
