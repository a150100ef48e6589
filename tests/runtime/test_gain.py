"""Levels in and out."""

from __future__ import annotations

import math

import pytest

from musicstar_ext.runtime.gain import PEAK, input_gain, output_gain


def test_input_gain() -> None:
    assert input_gain(-40.0, -20.0) == pytest.approx(10)
    assert input_gain(-math.inf, -20.0) == 1


def test_output_gain_brings_the_level_back_but_never_past_full_scale() -> None:
    assert output_gain(-20.0, -26.0206, 0.9) == pytest.approx(0.5, rel=1e-4)
    assert output_gain(-40.0, -6.0, 0.5) == pytest.approx(PEAK / 0.5)


def test_silence() -> None:
    assert output_gain(-20.0, -math.inf, 0.5) == 0
    assert output_gain(-math.inf, -20.0, 0.0) == 1
