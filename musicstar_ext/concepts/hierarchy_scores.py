"""One table of all that can be said about the trees, with what chance and the nearest neighbours would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .hierarchy import Hierarchies
from .tree_metrics import (
    PERMUTATIONS,
    UNKNOWN,
    ancestor_agreement,
    cluster_share,
    edge_agreement,
    nearest_edges,
    proxy_distance,
    random_edges,
)
from .trees import Integers, Tree, known_tree, tops


@dataclass(frozen=True)
class Reference:
    """What is known about concepts 0, 1, ... beside the trees.

    Attributes:
        clusters: {concept: cluster}.
        parents: {child: parent} of a known tree, whose inner nodes need not be concepts.
        embedding: [concepts, dimensions], nan where a concept is not in it.
    """

    names: tuple[str, ...]
    clusters: Mapping[str, str]
    parents: Mapping[str, str]
    embedding: NDArray[np.float64] | None = None
    distance: Literal["l2", "cosine"] = "l2"

    def cluster_of(self) -> dict[str, str]:
        """Clusters; where none are given, the branches of the known tree."""
        return dict(self.clusters) or (tops(self.names, self.parents) if self.parents else {})

    def cluster_numbers(self) -> Integers:
        """[concepts], UNKNOWN where none is known."""
        clusters = self.cluster_of()
        numbers = {name: n for n, name in enumerate(sorted(set(clusters.values())))}
        return np.array([numbers[clusters[name]] if name in clusters else UNKNOWN for name in self.names], np.int64)


def score(found: Hierarchies, reference: Reference, permutations: int = PERMUTATIONS) -> dict[str, dict[str, Any]]:
    """{algorithm, or "nearest neighbour" or "random": {figure: value}}; what is not known is left out."""
    clusters = reference.cluster_numbers()
    known = known_tree(reference.names, reference.parents)
    mentioned = {*reference.parents, *reference.parents.values()}
    comparable = np.array([name in mentioned for name in reference.names], np.bool_)
    rows = {name: _of_tree(tree, clusters, known, comparable, permutations) for name, tree in found.trees.items()}
    edges = {name: tree.edges for name, tree in found.trees.items()}
    # Two edges that no tree has: what it could reach at best, and what it would be by chance.
    edges["nearest neighbour"] = nearest_edges(found.firing)
    edges["random"] = random_edges(len(reference.names))
    rows["nearest neighbour"] = _clusters(edges["nearest neighbour"], clusters, permutations)
    rows["random"] = _clusters(edges["random"], clusters, 0)
    if reference.embedding is not None:
        for name, row in rows.items():
            row["proxy_distance"] = proxy_distance(edges[name], reference.embedding, reference.distance)
    return rows


def _of_tree(
    tree: Tree, clusters: Integers, known: Tree, comparable: NDArray[np.bool_], permutations: int
) -> dict[str, Any]:
    children = np.array([len(below) for below in tree.children[:-1]])
    row: dict[str, Any] = {
        "edges": len(tree.edges),
        "at_root": len(tree) - len(tree.edges),
        "depth": int(tree.depths.max()),
        "most_children": int(children.max()),
    }
    row |= _clusters(tree.edges, clusters, permutations)
    if comparable.any():
        pair = tree.restricted(comparable), known.restricted(comparable)
        if len(pair[1].edges):
            row["edge"] = edge_agreement(*pair, permutations)._asdict()
            row["ancestor"] = ancestor_agreement(*pair, permutations)._asdict()
    return row


def _clusters(edges: Integers, clusters: Integers, permutations: int) -> dict[str, Any]:
    if (clusters == UNKNOWN).all():
        return {}
    if not permutations:
        pairs = clusters[edges]
        pairs = pairs[(pairs != UNKNOWN).all(axis=1)]
        return {"same_cluster": {"share": float((pairs[:, 0] == pairs[:, 1]).mean()) if len(pairs) else np.nan}}
    return {"same_cluster": cluster_share(edges, clusters, permutations)._asdict()}
