"""Resampling: the duration to the sample, the same samples for any cut, and the right signal."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.resampling import check_rate, resample

RATES = [8_000, 11_025, 15_999, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]


def joined(samples: np.ndarray, rate: float, cuts: list[int] | None = None) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *resample(np.split(samples, cuts or []), rate, 16_000)])


@pytest.mark.parametrize("rate", RATES)
def test_duration_to_the_sample(rate: int) -> None:
    for samples in (0, 1, 2, 799, 800, 801, 16_384, rate + 1):
        assert len(joined(np.zeros(samples, np.float32), rate)) == round(samples * 16_000 / rate)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_any_cut_gives_the_same_samples(rate: int) -> None:
    samples = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    whole = joined(samples, rate)
    for cuts in ([1, 2, 3], [16_383], [16_384, 16_385], list(range(0, 40_000, 77))):
        assert np.array_equal(joined(samples, rate, cuts), whole)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_a_tone_in_place(rate: int) -> None:
    source = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(joined(source, rate)[500:-500], expected[500:-500], atol=2e-3)


@pytest.mark.parametrize("rate", [0, -1, 999, 768_001, float("nan"), float("inf"), True, "44100", None])
def test_bad_rates(rate: object) -> None:
    with pytest.raises(UserError, match="sample rate must be between"):
        check_rate(rate)  # type: ignore[arg-type]
