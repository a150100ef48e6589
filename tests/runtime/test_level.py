"""The gated level: known signals, pauses that do not count, and any cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

from musicstar_ext.runtime.level import LevelMeter, gated_level_dbfs

SINE = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)


def test_a_full_scale_sine_is_3_db_below_full_scale() -> None:
    assert gated_level_dbfs(SINE) == pytest.approx(-3.01, abs=0.01)
    assert gated_level_dbfs(SINE / 10) == pytest.approx(-23.01, abs=0.01)


def test_pauses_do_not_count() -> None:
    with_pause = np.concatenate([SINE, np.zeros(32_000, np.float32), 1e-4 * SINE])
    assert gated_level_dbfs(with_pause) == pytest.approx(gated_level_dbfs(SINE), abs=1e-6)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(10), np.zeros(5000), 5e-4 * SINE])
def test_silence_is_minus_infinity(samples: np.ndarray) -> None:
    assert gated_level_dbfs(samples) == -math.inf


@pytest.mark.parametrize("cuts", [[], [1, 2], [799, 800, 801], list(range(0, 16_000, 77))])
@pytest.mark.parametrize("length", [1, 799, 800, 801, 16_000])
def test_a_meter_gives_the_same_for_any_cut(length: int, cuts: list[int]) -> None:
    samples = np.random.default_rng(0).standard_normal(length).astype(np.float32) / 10
    meter = LevelMeter()
    for block in np.split(samples, cuts):
        meter.update(block)
    assert meter.dbfs == pytest.approx(gated_level_dbfs(samples), abs=1e-9)
