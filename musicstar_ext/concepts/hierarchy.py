"""A set of concepts, its hierarchies by several algorithms, and what each stage cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .arborescence import ROOT_WEIGHT, arborescence
from .concept_file import ConceptSet
from .heymann import HeymannConfig, centrality, graph, heymann_tree, placing_order
from .similarity import Matrix, check, cosine, firing
from .trees import Tree
from .undirected_trees import agglomerative_tree, spanning_tree

# What each is, as tables and the page say it.
ALGORITHMS = {
    "heymann": "Heymann & Garcia-Molina on who fires on whose tracks (the paper)",
    "spanning": "maximum spanning tree of the vectors' cosine",
    "arborescence": "Edmonds' maximum arborescence of who fires on whose tracks",
    "agglomerative": "agglomerative clustering of the vectors' cosine",
}


@dataclass(frozen=True)
class HierarchyConfig:
    """The algorithms' parameters: the paper's; the arborescence's edges from the root; the clusters' linkage."""

    heymann: HeymannConfig = field(default_factory=HeymannConfig)
    root_weight: float = ROOT_WEIGHT
    linkage: str = "average"


@dataclass(frozen=True)
class Hierarchies:
    """What `build` found.

    Attributes:
        trees: {algorithm: its tree}.
        firing: [concepts, concepts] S[i, j]: how j fires on the tracks of i (`similarity.firing`).
        cosine: [concepts, concepts] of the vectors.
        centrality: [concepts] betweenness in the paper's graph; None where its algorithm was not asked for.
        joined: pairs in that graph.
        seconds: {stage: wall seconds}.
    """

    trees: dict[str, Tree]
    firing: Matrix
    cosine: Matrix
    centrality: NDArray[np.float64] | None
    joined: int
    seconds: dict[str, float]

    def warnings(self) -> list[str]:
        """One line for each tree that says nothing."""
        lines = []
        if "heymann" in self.trees and not self.joined:
            lines.append(
                "no two concepts are similar enough to be joined (--edge-above): all are equally central, and are "
                "placed in the order of the file"
            )
        lines += [
            f"{name}: no concept is below another: all hang at the root (--attach-above, --root-weight)"
            for name, tree in self.trees.items()
            if not len(tree.edges)
        ]
        return lines


def build(
    concepts: ConceptSet, algorithms: Sequence[str] = tuple(ALGORITHMS), config: HierarchyConfig | None = None
) -> Hierarchies:
    """Similarities, then a tree by each of `algorithms`.

    Raises:
        UserError: fewer than two concepts, one without tracks, or a figure that is not finite.
        MissingExtraError: scipy is not installed.
    """
    config = HierarchyConfig() if config is None else config
    check(concepts)
    seconds: dict[str, float] = {}
    trees: dict[str, Tree] = {}
    central, joined = None, 0
    with _timed("similarity", seconds):
        fires = firing(concepts)
    with _timed("cosine", seconds):
        alike = cosine(concepts.vectors)
    for algorithm in algorithms:
        if algorithm == "heymann":
            with _timed("centrality", seconds):
                joins = graph(fires, config.heymann)
                central, joined = centrality(joins, config.heymann), int(joins.sum()) // 2
            with _timed(algorithm, seconds):
                trees[algorithm] = heymann_tree(fires, placing_order(joins, central), config.heymann)
        elif algorithm == "spanning":
            with _timed(algorithm, seconds):
                trees[algorithm] = spanning_tree(alike)
        elif algorithm == "arborescence":
            with _timed(algorithm, seconds):
                trees[algorithm] = arborescence(fires, config.root_weight)
        elif algorithm == "agglomerative":
            with _timed(algorithm, seconds):
                trees[algorithm] = agglomerative_tree(alike, generality(fires), config.linkage)
        else:
            raise ValueError(f"no algorithm {algorithm}")
    return Hierarchies(trees, fires, alike, central, joined, seconds)


def generality(fires: Matrix) -> NDArray[np.float64]:
    """How much each concept fires on the tracks of the others, on average: [concepts]."""
    return (fires.sum(axis=0, dtype=np.float64) - fires.diagonal()) / (len(fires) - 1)


@contextlib.contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
