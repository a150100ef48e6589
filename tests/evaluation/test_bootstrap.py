"""Means with intervals."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.evaluation.bootstrap import Interval, mean_interval


def test_equal_values_have_no_width() -> None:
    assert mean_interval(np.full((7, 2), 0.25)) == Interval(0.25, 0.25, 0.25)


def test_the_interval_is_that_of_the_mean() -> None:
    """For normal values it comes close to mean +- 1.96 sigma / sqrt(n)."""
    values = np.random.default_rng(0).normal(3.0, 0.5, 400)
    interval = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_pieces_are_drawn_whole() -> None:
    """Two directions that mirror each other cancel out within each piece, so nothing is left to vary."""
    first = np.random.default_rng(1).random(20)
    interval = mean_interval(np.stack([first, 1 - first], axis=1))
    assert interval.mean == pytest.approx(0.5)
    assert interval.high - interval.low < 1e-9


def test_a_direction_counts_once_however_many_pieces_it_has() -> None:
    values = np.array([[0.0, 1.0], [0.0, np.nan], [0.0, np.nan]])
    assert mean_interval(values).mean == 0.5


def test_one_piece_has_no_interval_and_none_no_mean() -> None:
    assert str(mean_interval(np.array([0.5]))) == "0.500"
    assert str(mean_interval(np.array([[np.nan, np.nan]]))) == ""
    assert np.isnan(mean_interval(np.zeros(0)).mean)
