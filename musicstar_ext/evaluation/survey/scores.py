"""Rankings -> the points of Table 1 (Music-STAR, ISMIR 2022), how sure they are, and how far raters agree.

A vote is one rater's ranking of one piece's n versions for one question. It gives n points to the first, n - 1 to the
second, ..., 1 to the last; with five methods 5 ... 1, as in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

from .protocol import QUESTIONS
from .results import Key, Result

RESAMPLES = 10_000


@dataclass(frozen=True)
class MethodScore:
    """Points of a method for a question: their sum and mean over all votes, and the mean's 95 % interval.

    `interval` is None for a single rater. `places[k]` counts the votes that put the method at place k + 1.
    """

    total: int
    mean: float
    interval: tuple[float, float] | None
    places: tuple[int, ...]


@dataclass(frozen=True)
class QuestionScores:
    """One question: each method's score, and the agreement between raters.

    `kendall_w` is the mean over pieces (None for a single rater); `friedman` is (chi squared, p), None for fewer than
    three methods or two raters, or where all raters tie all methods.
    """

    methods: dict[str, MethodScore]
    kendall_w: float | None
    friedman: tuple[float, float] | None


@dataclass(frozen=True)
class Scores:
    """All that a survey's results say; `questions` by id."""

    raters: int
    pieces: int
    votes: int
    questions: dict[str, QuestionScores]


def score(key: Key, results: Sequence[Result], resamples: int = RESAMPLES, seed: int = 0) -> Scores:
    """Count points, with a percentile bootstrap over raters (they, not votes, are independent of each other).

    Raises:
        UserError: no results.
        MissingExtraError: scipy is missing.
    """
    if not results:
        raise UserError("no valid results")
    points = points_of(key, results)
    raters, pieces, _, methods = points.shape
    rng = np.random.default_rng(seed)
    # A resample counts how often each rater was drawn: [resamples, raters].
    draws = rng.multinomial(raters, np.full(raters, 1 / raters), size=resamples)
    questions = {}
    for index, question in enumerate(QUESTIONS):
        votes = points[:, :, index]  # [raters, pieces, methods]
        by_rater = votes.mean(axis=1)
        means = draws @ by_rater / raters  # [resamples, methods]
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
        questions[question.id] = QuestionScores(
            {
                method: MethodScore(
                    int(votes[..., m].sum()),
                    float(votes[..., m].mean()),
                    (float(low[m]), float(high[m])) if raters > 1 else None,
                    tuple(int((votes[..., m] == methods - place).sum()) for place in range(methods)),
                )
                for m, method in enumerate(key.methods)
            },
            float(np.mean([kendall_w(votes[:, piece]) for piece in range(pieces)])) if raters > 1 else None,
            friedman(by_rater),
        )
    return Scores(raters, pieces, raters * pieces, questions)


def points_of(key: Key, results: Sequence[Result]) -> NDArray[np.int64]:
    """Points of every vote. Shape: [raters, pieces, questions, methods]."""
    points = np.zeros((len(results), len(key.pieces), len(QUESTIONS), len(key.methods)), np.int64)
    for r, result in enumerate(results):
        for p, piece in enumerate(key.pieces):
            for q, question in enumerate(QUESTIONS):
                ranked = result.ranks[piece.id][question.id]
                points[r, p, q] = [len(ranked) - ranked.index(method) for method in key.methods]
    return points


def kendall_w(points: NDArray[np.integer]) -> float:
    """Kendall's coefficient of concordance of m raters who rank the same n things without ties.

    W = 12 S / (m^2 (n^3 - n)), S the sum over things of (its sum of ranks - the mean of these sums)^2; 1 where all
    agree, near 0 (1/m expected) where they rank at random. (Kendall and Babington Smith, 1939.)

    Shape: points [m, n], each row a permutation of 1 .. n.
    """
    raters, things = points.shape
    sums = points.sum(axis=0)
    deviations = float(np.square(sums - sums.mean()).sum())
    return 12 * deviations / (raters**2 * (things**3 - things))


def friedman(by_rater: NDArray[np.floating]) -> tuple[float, float] | None:
    """Friedman's test of "all methods are alike", raters as blocks: (chi squared, p).

    A rater's value for a method is its mean over pieces: pieces ranked by one rater are not independent.

    Shape: by_rater [raters, methods].
    """
    raters, methods = by_rater.shape
    if raters < 2 or methods < 3 or np.all(by_rater == by_rater[:, :1]):
        return None
    statistic, p = extra_module("scipy.stats").friedmanchisquare(*by_rater.T)
    return float(statistic), float(p)
