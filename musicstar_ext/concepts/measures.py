"""How well scores tell a concept's tracks from others, with intervals: what other held-out tracks would have given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SHARE = 0.95
SEED = 0  # equal measurements give equal intervals


class Figure(NamedTuple):
    """A figure and its 95 % percentile bootstrap interval over tracks, drawn within each class (Efron 1979).

    All nan where one of the classes is empty; nan bounds where one has a single track.
    """

    value: float
    low: float
    high: float


NOTHING = Figure(np.nan, np.nan, np.nan)


def balanced_accuracy(scores: NDArray[np.float64], is_member: NDArray[np.bool_], threshold: float = 0.5) -> Figure:
    """Mean of the shares of members at or above the threshold, and of others below it: 0.5 by chance."""
    right = np.where(is_member, scores >= threshold, scores < threshold).astype(np.float64)
    members, others = right[is_member], right[~is_member]
    if not len(members) or not len(others):
        return NOTHING
    value = float((members.mean() + others.mean()) / 2)
    if min(len(members), len(others)) < 2:
        return Figure(value, np.nan, np.nan)
    of_members, of_others = _draws(len(members), len(others))
    return _figure(value, (of_members @ members / len(members) + of_others @ others / len(others)) / 2)


def area_under_curve(scores: NDArray[np.float64], is_member: NDArray[np.bool_]) -> Figure:
    """The chance that a member has a higher score than another track (a tie counts half): 0.5 by chance."""
    members, others = scores[is_member], scores[~is_member]
    if not len(members) or not len(others):
        return NOTHING
    above = (members[:, None] > others).astype(np.float32) + np.float32(0.5) * (members[:, None] == others)
    value = float(above.mean(dtype=np.float64))
    if min(len(members), len(others)) < 2:
        return Figure(value, np.nan, np.nan)
    of_members, of_others = _draws(len(members), len(others))
    drawn = ((of_members.astype(np.float32) @ above) * of_others).sum(axis=1, dtype=np.float64) / above.size
    return _figure(value, drawn)


def _draws(*sizes: int) -> list[NDArray[np.float64]]:
    """For each class, how often each of its tracks is drawn: [resamples, tracks]."""
    random = np.random.default_rng(SEED)
    return [random.multinomial(size, np.full(size, 1 / size), RESAMPLES).astype(np.float64) for size in sizes]


def _figure(value: float, drawn: NDArray[np.float64]) -> Figure:
    low, high = np.quantile(drawn, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return Figure(value, float(low), float(high))
