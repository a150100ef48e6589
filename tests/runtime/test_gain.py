"""Levels in and out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from musicstar_ext.runtime.gain import PEAK, input_gain, limited_gains, mix, output_gain

LOUD = np.array([0.5, -0.9, 0.1], np.float32)
QUIET = np.array([0.1, 0.1, -0.3], np.float32)


def test_input_gain() -> None:
    assert input_gain(-40.0, -20.0) == pytest.approx(10)
    assert input_gain(-math.inf, -20.0) == 1


def test_output_gain_brings_the_level_back() -> None:
    assert output_gain(-20.0, -26.0206) == pytest.approx(0.5, rel=1e-4)


def test_silence() -> None:
    assert output_gain(-20.0, -math.inf) == 0
    assert output_gain(-math.inf, -20.0) == 1
    assert limited_gains({"a": 0.0}, [{"a": LOUD}]) == {"a": 0}
    assert limited_gains({"a": 2.0}, [{"a": np.zeros(3, np.float32)}]) == {"a": 2}
    assert limited_gains({"a": 2.0}, []) == {"a": 2}


def test_one_signal_is_brought_to_full_scale_at_most() -> None:
    assert limited_gains({"a": 1.1}, [{"a": LOUD}])["a"] == 1.1
    assert limited_gains({"a": 4.0}, [{"a": QUIET}, {"a": LOUD}])["a"] == PEAK / float(np.float32(0.9))


def test_signals_are_lowered_alike_by_the_peak_of_their_sum() -> None:
    gains = {"a": 2.0, "b": 0.5}
    limited = limited_gains(gains, [{"a": LOUD, "b": QUIET}])
    assert limited["a"] / limited["b"] == pytest.approx(4)
    assert np.abs(mix({"a": LOUD, "b": QUIET}, limited)).max() == pytest.approx(PEAK)
    # Each alone would pass full scale, but their sum does not.
    assert limited_gains({"a": 1.5, "b": 1.5}, [{"a": LOUD, "b": -LOUD / 2}]) == {"a": 1.5, "b": 1.5}


def test_mix_leaves_its_signals_alone() -> None:
    mix({"a": LOUD, "b": QUIET}, {"a": 1.0, "b": 1.0})
    assert LOUD[0] == np.float32(0.5)
