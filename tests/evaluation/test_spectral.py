"""The log-spectral distance: what it must be for signals whose spectra are known."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.evaluation import spectral
from musicstar_ext.evaluation.spectral import log_spectral_distance


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return (0.1 * np.random.default_rng(1).standard_normal(20_000)).astype(np.float32)


def test_equal_recordings_have_no_distance(noise: np.ndarray):
    assert log_spectral_distance(noise, noise) == 0.0


@pytest.mark.parametrize("gain", [0.25, 4.0])
def test_a_gain_is_a_distance_of_its_decibels(noise: np.ndarray, gain: float):
    # All bins but the rare ones at the floor move by the same number of decibels.
    assert log_spectral_distance(gain * noise, noise) == pytest.approx(12.04, abs=0.05)


def test_nothing_below_the_floor_counts(noise: np.ndarray):
    faint = (noise * np.float32(1e-6)).copy()
    gold = np.zeros_like(noise)
    gold[:10_000] = noise[:10_000]
    louder = gold.copy()
    louder[12_000:] += faint[12_000:]
    assert log_spectral_distance(louder, gold) == pytest.approx(0.0, abs=1e-6)


def test_more_noise_is_farther(noise: np.ndarray):
    other = np.random.default_rng(2).standard_normal(len(noise)).astype(np.float32)
    distances = [log_spectral_distance(noise + scale * other, noise) for scale in (0.001, 0.01, 0.1)]
    assert distances == sorted(distances)


def test_blocks_do_not_matter(noise: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    other = np.roll(noise, 77)
    whole = log_spectral_distance(other, noise)
    monkeypatch.setattr(spectral, "FRAMES_AT_ONCE", 7)
    assert log_spectral_distance(other, noise) == pytest.approx(whole, rel=1e-12)


def test_silence_and_scraps_are_refused(noise: np.ndarray):
    with pytest.raises(UserError, match="silent"):
        log_spectral_distance(noise, np.zeros_like(noise))
    with pytest.raises(UserError, match="1023 samples"):
        log_spectral_distance(noise[:1023], noise)
