"""The paper's hierarchy: Heymann and Garcia-Molina 2006, "Collaborative creation of communal hierarchical taxonomies".

Concepts are placed from the most central to the least: what many paths between others pass is general. Each goes below
the placed one whose tracks it fires on most, or below the root where nothing is similar enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .betweenness import betweenness
from .similarity import Matrix
from .trees import ROOT, Tree

EXACT = 1000  # concepts up to which centrality takes all sources
SAMPLED = 512  # sources beyond


@dataclass(frozen=True)
class HeymannConfig:
    """The paper's parameters.

    Attributes:
        edge_above: similarity above which two concepts are joined in the graph.
        attach_above: similarity above which a concept goes below another.
        most_children: of one concept (the root may have any number).
        join: whether S must be above in "either" direction or in "both" (the paper does not say).
        when_full: where the best parent has most children already: below the "root" (the paper), or below the "next"
            best that has room.
        sources: of centrality's paths; 0 takes all; None takes all up to 1,000 concepts and 512, drawn at random,
            beyond.
        seed: of what is drawn.
    """

    edge_above: float = 0.5
    attach_above: float = 0.2
    most_children: int = 20
    join: Literal["either", "both"] = "either"
    when_full: Literal["root", "next"] = "root"
    sources: int | None = None
    seed: int = 0


def graph(similarity: Matrix, config: HeymannConfig) -> NDArray[np.bool_]:
    """Who is joined with whom: [concepts, concepts], symmetric, without loops."""
    above = similarity > config.edge_above
    joined = above | above.T if config.join == "either" else above & above.T
    np.fill_diagonal(joined, False)
    return joined


def centrality(joined: NDArray[np.bool_], config: HeymannConfig) -> NDArray[np.float64]:
    """Betweenness of each concept, [concepts]."""
    sources = config.sources
    if sources is None:
        sources = SAMPLED if len(joined) > EXACT else 0
    return betweenness(joined, sources or None, np.random.default_rng(config.seed))


def placing_order(joined: NDArray[np.bool_], central: NDArray[np.float64]) -> NDArray[np.int64]:
    """Concepts by descending centrality; of equals, first who is joined with more, then who comes first.

    Centralities are sums of rounded numbers: those within a billionth of the largest are equal.
    """
    largest = float(central.max(initial=0.0))
    rank = np.round(central / largest, 9) if largest > 0 else np.zeros(len(central))
    return np.lexsort((np.arange(len(central)), -joined.sum(axis=1), -rank))


def heymann_tree(similarity: Matrix, order: NDArray[np.int64], config: HeymannConfig) -> Tree:
    """Attach the concepts in that order: n goes below the placed p with the largest S[p, n].

    Args:
        similarity: [concepts, concepts]; S[p, n] is how n fires on the tracks of p.
    """
    parents = np.full(len(similarity), ROOT, np.int64)
    children = np.zeros(len(similarity), np.int64)
    columns = np.ascontiguousarray(similarity.T)  # columns[n, p] = S[p, n]
    for placed, n in enumerate(order):
        candidates = order[:placed]
        if config.when_full == "next":
            candidates = candidates[children[candidates] < config.most_children]
        if not len(candidates):
            continue
        best = candidates[columns[n, candidates].argmax()]
        if columns[n, best] > config.attach_above and children[best] < config.most_children:
            parents[n] = best
            children[best] += 1
    return Tree(parents)
