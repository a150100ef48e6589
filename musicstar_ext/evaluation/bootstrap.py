"""Means with intervals: what the mean over pieces would have been had other pieces been drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SHARE = 0.95
SEED = 0  # equal measurements give equal intervals


class Interval(NamedTuple):
    """A mean and its 95 % percentile bootstrap interval (Efron 1979); nan bounds for a single piece."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.mean):
            return ""
        return f"{self.mean:.3f}" if np.isnan(self.low) else f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Mean of [pieces], or of [pieces, directions]: whole pieces are drawn, with all their directions.

    A value that is not there is nan, and left out; a direction counts as much as any other.
    """
    table = np.asarray(values, np.float64)
    table = table if table.ndim == 2 else table[:, np.newaxis]
    table = table[:, ~np.isnan(table).all(axis=0)]
    if not table.size:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(np.nanmean(table, axis=0).mean())
    rows = ~np.isnan(table).all(axis=1)
    if rows.sum() < 2:
        return Interval(mean, np.nan, np.nan)
    table = table[rows]
    draws = np.random.default_rng(SEED).integers(len(table), size=(RESAMPLES, len(table)))
    drawn = table[draws]  # [resamples, pieces, directions]
    present = ~np.isnan(drawn)
    counts = present.sum(axis=1)
    sums = np.where(present, drawn, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        means = sums / counts  # nan where a draw has no piece with that direction
    kept = ~np.isnan(means).any(axis=1)
    low, high = np.quantile(means[kept].mean(axis=1), [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return Interval(mean, float(low), float(high))
