"""Betweenness centrality of dense graphs: on how many of the shortest paths between others a vertex lies.

Brandes 2001, as matrix products: breadth-first searches from many sources advance together, level by level. Graphs of
similar concepts are dense and a few steps wide, so a few products do what takes minutes edge by edge (networkx, against
which this is tested).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.extras import extra_module

BLOCK = 1 << 21  # values of one matrix [vertices, sources] at a time: 16 MB
DENSE = 0.05  # share of pairs joined from which on dense products are faster
LARGE = 1e100  # numbers of paths beyond it are scaled, so that none overflows


def betweenness(
    adjacency: NDArray[np.bool_], sources: int | None = None, random: np.random.Generator | None = None
) -> NDArray[np.float64]:
    """Shares of shortest paths through each vertex, [vertices], from 0 to 1 (endpoints not counted).

    Args:
        adjacency: [vertices, vertices], symmetric; the diagonal does not matter.
        sources: paths from that many vertices only, drawn at random, estimate it (Brandes and Pich 2007); None for all.
        random: what draws them.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    count = len(adjacency)
    if count < 3:
        return np.zeros(count)
    joined = adjacency & ~np.eye(count, dtype=np.bool_)
    starts = np.arange(count)
    if sources is not None and sources < count:
        random = np.random.default_rng(0) if random is None else random
        starts = np.sort(random.choice(count, sources, replace=False))
    if joined.mean() > DENSE:
        matrix: Any = joined.astype(np.float64)
    else:
        matrix = extra_module("scipy.sparse", "concepts").csr_array(joined, dtype=np.float64)
    total = np.zeros(count)
    width = max(1, BLOCK // count)
    for first in range(0, len(starts), width):
        total += _dependencies(matrix, starts[first : first + width])
    return total * (count / len(starts)) / ((count - 1) * (count - 2))


def _dependencies(matrix: Any, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Summed over the sources s: how much s depends on each vertex to reach the others (Brandes, equation 6)."""
    shape = (matrix.shape[0], len(starts))
    source = (starts, np.arange(len(starts)))
    depth = np.full(shape, -1, np.int32)
    depth[source] = 0
    paths = np.zeros(shape)  # numbers of shortest paths from the source, in each level's own unit
    paths[source] = 1
    front = paths.copy()
    units: list[NDArray[np.float64]] = []
    while (depth < 0).any():
        front = matrix @ front
        front[depth >= 0] = 0
        new = front > 0
        if not new.any():
            break
        largest = front.max(axis=0)
        units.append(np.where(largest > LARGE, largest, 1.0))
        front /= units[-1]
        depth[new] = len(units)
        paths += front
    dependency = np.zeros(shape)
    for level in range(len(units), 0, -1):
        share = np.zeros(shape)
        np.divide(1 + dependency, paths * units[level - 1], out=share, where=(depth == level) & (paths > 0))
        dependency += np.where(depth == level - 1, (matrix @ share) * paths, 0)
    dependency[source] = 0
    return dependency.sum(axis=1)
