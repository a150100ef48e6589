"""Trees from a symmetric similarity: the maximum spanning tree, and agglomerative clustering."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.extras import extra_module

from .similarity import Matrix
from .trees import ROOT, Tree

LINKAGES = ("average", "complete", "single")


def spanning_tree(similarity: Matrix) -> Tree:
    """The spanning tree of largest total similarity (Prim 1957), hung up at its most central concept.

    That is the one on most of the tree's own paths, of equals the first: betweenness needs no search in a tree.
    All pairs are edges, so Prim's n steps over a row each beat sorting the edges by far.
    """
    count = len(similarity)
    neighbours: list[list[int]] = [[] for _ in range(count)]
    nearest = np.zeros(count, np.int64)  # in the tree so far
    best = np.full(count, -np.inf)  # the similarity to it; of those in the tree nan
    added = 0
    best[added] = np.nan
    for _ in range(count - 1):
        better = similarity[added] > best  # not where nan
        best[better] = similarity[added, better]
        nearest[better] = added
        added = int(np.nanargmax(best))
        neighbours[added].append(int(nearest[added]))
        neighbours[nearest[added]].append(added)
        best[added] = np.nan
    return _hung_at(neighbours, _most_central(neighbours))


def agglomerative_tree(similarity: Matrix, generality: NDArray[np.floating], linkage: str = "average") -> Tree:
    """Agglomerative clustering (scipy's linkage of 1 - similarity), as a tree over the concepts themselves.

    Clustering yields a binary tree with the concepts as leaves. Here each cluster is headed by one of its concepts:
    when two clusters merge, the more general of their heads heads both and the other becomes its child.

    Args:
        similarity: [concepts, concepts], symmetric.
        generality: [concepts]; of equals the first heads.
        linkage: "average", "complete" or "single".

    Raises:
        MissingExtraError: scipy is not installed.
    """
    clustering = extra_module("scipy.cluster.hierarchy", "concepts")
    count = len(similarity)
    distances = np.maximum(0, 1 - similarity[np.triu_indices(count, 1)].astype(np.float64))
    heads = list(range(count))
    parents = np.full(count, ROOT, np.int64)
    for one, other in clustering.linkage(distances, linkage)[:, :2].astype(np.int64):
        head, below = sorted((heads[one], heads[other]), key=lambda concept: (-generality[concept], concept))
        parents[below] = head
        heads.append(head)
    return Tree(parents)


def _hung_at(neighbours: list[list[int]], top: int) -> Tree:
    parents = np.full(len(neighbours), ROOT, np.int64)
    order = [top]
    for concept in order:
        for neighbour in neighbours[concept]:
            if neighbour != parents[concept]:
                parents[neighbour] = concept
                order.append(neighbour)
    return Tree(parents)


def _most_central(neighbours: list[list[int]]) -> int:
    """Pairs that a vertex separates: the products of the sizes of the parts that are left without it."""
    tree = _hung_at(neighbours, 0)
    count = len(neighbours)
    sizes = np.ones(count, np.int64)
    squares = np.zeros(count, np.int64)  # of the parts' sizes: 2 * pairs = (n - 1)^2 - sum of squares
    for concept in reversed(tree.order):
        squares[concept] += (count - sizes[concept]) ** 2
        parent = tree.parents[concept]
        if parent != ROOT:
            sizes[parent] += sizes[concept]
            squares[parent] += sizes[concept] ** 2
    return int(squares.argmin())
