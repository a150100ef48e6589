"""How good a tree over concepts is: against known clusters, against a known tree, in another embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .similarity import Matrix
from .trees import Integers, Tree

PERMUTATIONS = 1000
LOOKUPS = 1 << 24  # of all permutations together: a second
RANDOM_EDGES = 50_000
UNKNOWN = -1


class ClusterShare(NamedTuple):
    """Edges within one cluster.

    Attributes:
        share: of the edges whose ends are both of known clusters; nan where there is none.
        edges: how many these are.
        chance: the mean share when clusters are dealt anew to the concepts that have one.
        p: of a share as high by chance, (1 + as high) / (1 + permutations).
    """

    share: float
    edges: int
    chance: float
    p: float


class Agreement(NamedTuple):
    """Pairs of concepts that a tree and the known one both hold; nan where the known one holds none.

    `chance` is the mean F1, `p` the probability of one as high, when the concepts' names are dealt anew.
    """

    precision: float
    recall: float
    f1: float
    chance: float
    p: float


def cluster_share(edges: Integers, clusters: Integers, permutations: int = PERMUTATIONS, seed: int = 0) -> ClusterShare:
    """The share of parent-child edges within the same known cluster, with a permutation test.

    Args:
        edges: [edges, 2] of concepts; those from the root are left out (`Tree.edges`).
        clusters: [concepts], UNKNOWN where none is known.
    """
    known = np.flatnonzero(clusters != UNKNOWN)
    places = np.full(len(clusters), UNKNOWN, np.int64)
    places[known] = np.arange(len(known))
    pairs = places[edges]
    pairs = pairs[(pairs != UNKNOWN).all(axis=1)]
    labels = clusters[known]
    if not len(pairs):
        return ClusterShare(np.nan, 0, np.nan, np.nan)

    def same(dealt: Integers) -> int:
        shuffled = labels[dealt]
        return int((shuffled[pairs[:, 0]] == shuffled[pairs[:, 1]]).sum())

    found = same(np.arange(len(known)))
    mean, p = _by_chance(same, found, len(known), len(pairs), permutations, seed)
    return ClusterShare(found / len(pairs), len(pairs), mean / len(pairs), p)


def edge_agreement(found: Tree, known: Tree, permutations: int = PERMUTATIONS, seed: int = 0) -> Agreement:
    """Precision, recall and F1 of (parent, child), root left out. Both trees are over the same concepts."""
    return _agreement(found.edges, known.edges, len(found), permutations, seed)


def ancestor_agreement(found: Tree, known: Tree, permutations: int = PERMUTATIONS, seed: int = 0) -> Agreement:
    """Precision, recall and F1 of (ancestor, descendant): right also where a level is left out or put in between."""
    return _agreement(found.ancestors(), known.ancestors(), len(found), permutations, seed)


def proxy_distance(edges: Integers, embedding: NDArray[np.floating], distance: Literal["l2", "cosine"] = "l2") -> float:
    """The paper's proxy metric: the mean distance over parent-child edges in an embedding that had no part in the tree.

    Args:
        edges: [edges, 2].
        embedding: [concepts, dimensions]; a row of nan where a concept is not in it: its edges do not count.
        distance: Euclidean, or 1 - cosine.

    Returns:
        nan where no edge is left.
    """
    one, other = (embedding[edges[:, side]].astype(np.float64) for side in (0, 1))
    if distance == "l2":
        distances = np.linalg.norm(one - other, axis=1)
    else:
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        distances = 1 - (one * other).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    distances = distances[~np.isnan(distances)]
    return float(distances.mean()) if len(distances) else np.nan


def random_edges(concepts: int, seed: int = 0) -> Integers:
    """What edges would be in a random tree, [edges, 2]: all ordered pairs, or a sample of 50,000.

    In a tree with its concepts' names dealt at random each pair is equally often an edge.
    """
    if concepts * (concepts - 1) <= RANDOM_EDGES:
        one, other = np.nonzero(~np.eye(concepts, dtype=np.bool_))
        return np.stack([one, other], axis=1).astype(np.int64)
    random = np.random.default_rng(seed)
    one = random.integers(concepts, size=RANDOM_EDGES)
    return np.stack([one, (one + random.integers(1, concepts, size=RANDOM_EDGES)) % concepts], axis=1)


def nearest_edges(similarity: Matrix) -> Integers:
    """The top-1 neighbour graph, [concepts, 2]: for each n the p with the largest S[p, n]. It is no tree: a bound."""
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    return np.stack([others.argmax(axis=0), np.arange(len(others))], axis=1).astype(np.int64)


def _agreement(found: Integers, known: Integers, concepts: int, permutations: int, seed: int) -> Agreement:
    if not len(known):
        return Agreement(np.nan, np.nan, np.nan, np.nan, np.nan)
    if not len(found):
        return Agreement(np.nan, 0.0, 0.0, 0.0, 1.0)
    is_known = np.zeros((concepts, concepts), np.bool_)
    is_known[known[:, 0], known[:, 1]] = True

    def right(dealt: Integers) -> int:
        return int(is_known[dealt[found[:, 0]], dealt[found[:, 1]]].sum())

    both = right(np.arange(concepts))
    mean, p = _by_chance(right, both, concepts, len(found), permutations, seed)
    total = len(found) + len(known)  # F1 = 2 both / total
    return Agreement(both / len(found), both / len(known), 2 * both / total, 2 * mean / total, p)


def _by_chance(
    count: Callable[[Integers], int], found: int, dealt: int, lookups: int, permutations: int, seed: int
) -> tuple[float, float]:
    """Mean and p of `count` over random permutations; fewer, at least 99, where each costs very much."""
    random = np.random.default_rng(seed)
    permutations = min(permutations, max(99, LOOKUPS // lookups))
    counts = np.array([count(random.permutation(dealt)) for _ in range(permutations)])
    return float(counts.mean()), float((1 + (counts >= found).sum()) / (1 + permutations))
