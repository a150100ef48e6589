"""Centrality and the trees, against networkx, plain restatements and examples done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.concepts.arborescence import arborescence
from musicstar_ext.concepts.betweenness import betweenness
from musicstar_ext.concepts.heymann import HeymannConfig, centrality, graph, heymann_tree, placing_order
from musicstar_ext.concepts.trees import ROOT
from musicstar_ext.concepts.undirected_trees import LINKAGES, agglomerative_tree, spanning_tree

networkx = pytest.importorskip("networkx")
pytest.importorskip("scipy")


def random_graph(count: int, share: float, seed: int) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).random((count, count)) < share, 1)
    return upper | upper.T


@pytest.mark.parametrize(("count", "share"), [(1, 1), (2, 1), (3, 0.7), (9, 0.3), (40, 0.03), (40, 0.1), (40, 0.6)])
@pytest.mark.parametrize("seed", range(3))
def test_betweenness_is_networkxs(count, share, seed):
    adjacency = random_graph(count, share, seed)
    expected = networkx.betweenness_centrality(networkx.from_numpy_array(adjacency.astype(int)))
    np.testing.assert_allclose(betweenness(adjacency), [expected[n] for n in range(count)], atol=1e-12)


def test_blocks_of_sources_and_loops_change_nothing(monkeypatch):
    adjacency = random_graph(30, 0.1, 5)
    whole = betweenness(adjacency)
    monkeypatch.setattr("musicstar_ext.concepts.betweenness.BLOCK", 30 * 7)
    np.testing.assert_allclose(betweenness(adjacency | np.eye(30, dtype=np.bool_)), whole, atol=1e-15)


def test_sampled_betweenness_is_right_on_average():
    adjacency = random_graph(40, 0.08, 1)
    draws = [betweenness(adjacency, 10, np.random.default_rng(seed)) for seed in range(400)]
    exact = betweenness(adjacency)
    assert np.abs(np.mean(draws, axis=0) - exact).max() < 0.1 * exact.max()
    assert (betweenness(adjacency, 10, np.random.default_rng(0)) == draws[0]).all()


def test_numbers_of_paths_beyond_floats():
    """3 vertices a layer, 700 layers: 3^698 shortest paths. All three of a layer are equal."""
    layer = np.arange(2100) // 3
    adjacency = np.abs(layer[:, np.newaxis] - layer) == 1
    found = betweenness(adjacency, 3, np.random.default_rng(0)).reshape(700, 3)
    assert np.isfinite(found).all()
    assert found.max() > 0
    # What lies between two vertices is passed by equal shares.
    inner = found[(found > found.max() / 2).all(axis=1)]
    assert len(inner) > 10
    np.testing.assert_allclose(inner, np.repeat(inner[:, :1], 3, axis=1), rtol=1e-6)


def test_heymann_by_hand():
    """Music (0) is joined with rock (1), jazz (2) and noise (3); punk (4) with rock."""
    s = np.full((5, 5), 0.1, np.float32)
    np.fill_diagonal(s, 0.95)
    s[0, 1], s[1, 0] = 0.6, 0.9
    s[0, 2], s[2, 0] = 0.4, 0.8
    s[0, 3], s[3, 0] = 0.15, 0.55  # noise does not fire on music
    s[1, 4], s[4, 1] = 0.5, 0.7
    s[0, 4] = 0.45
    config = HeymannConfig()
    joined = graph(s, config)
    assert {(int(a), int(b)) for a, b in np.argwhere(joined) if a < b} == {(0, 1), (0, 2), (0, 3), (1, 4)}
    central = centrality(joined, config)
    # Of 6 pairs of others: music is between 1-2, 1-3, 2-3, 2-4, 3-4; rock between 0-4, 2-4, 3-4.
    np.testing.assert_allclose(central, [5 / 6, 3 / 6, 0, 0, 0], atol=1e-12)
    order = placing_order(joined, central)
    assert order.tolist() == [0, 1, 2, 3, 4]
    tree = heymann_tree(s, order, config)
    assert tree.parents.tolist() == [ROOT, 0, 0, ROOT, 1]
    assert heymann_tree(s, order, HeymannConfig(attach_above=0.45)).parents.tolist() == [ROOT, 0, ROOT, ROOT, 1]
    both = graph(s, HeymannConfig(join="both"))
    assert {(int(a), int(b)) for a, b in np.argwhere(both) if a < b} == {(0, 1)}


def test_a_full_parent():
    s = np.full((4, 4), 0.3, np.float32)
    s[0] = 0.9
    s[1, 3] = 0.5
    order = np.arange(4)
    assert heymann_tree(s, order, HeymannConfig(most_children=2)).parents.tolist() == [ROOT, 0, 0, ROOT]
    assert heymann_tree(s, order, HeymannConfig(most_children=2, when_full="next")).parents.tolist() == [ROOT, 0, 0, 1]


def plain_heymann(s: np.ndarray, order: list[int], config: HeymannConfig) -> list[int]:
    parents = [ROOT] * len(s)
    placed: list[int] = []
    for n in order:
        full = [p for p in placed if parents.count(p) >= config.most_children]
        open_to = [p for p in placed if config.when_full == "root" or p not in full]
        best = max(open_to, key=lambda p: s[p, n], default=None)
        if best is not None and s[best, n] > config.attach_above and best not in full:
            parents[n] = best
        placed.append(n)
    return parents


@pytest.mark.parametrize("when_full", ["root", "next"])
@pytest.mark.parametrize("most_children", [1, 2, 20])
def test_heymann_as_it_is_told(when_full, most_children):
    random = np.random.default_rng(most_children)
    config = HeymannConfig(attach_above=0.6, most_children=most_children, when_full=when_full)
    for _ in range(10):
        s = random.random((15, 15)).astype(np.float32)
        order = random.permutation(15)
        assert heymann_tree(s, order, config).parents.tolist() == plain_heymann(s, order.tolist(), config)


def test_equally_central_concepts_keep_their_order():
    nothing = np.zeros((6, 6), np.bool_)
    assert placing_order(nothing, centrality(nothing, HeymannConfig())).tolist() == list(range(6))
    nearly = np.array([0.5, 0.5 + 1e-14, 0.5, 0.0, 0.0, 0.0])
    assert placing_order(nothing, nearly).tolist() == list(range(6))


def tree_weight(weights: np.ndarray, parents: list[int], root_weight: float) -> float:
    return sum(root_weight if p == ROOT else float(weights[p, n]) for n, p in enumerate(parents))


@pytest.mark.parametrize("seed", range(60))
def test_the_arborescence_is_the_largest(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 13))
    weights = random.random((count, count))
    if seed % 3 == 0:
        weights = np.round(weights * 4) / 4  # ties
    if seed % 3 == 1:
        weights = weights[:1] * weights.T + 0.4  # mutual favourites: many circles, one in another
    found = arborescence(weights, 0.3)
    every = networkx.DiGraph()
    for n in range(count):
        every.add_edge("root", n, weight=0.3)
        every.add_edges_from((p, n, {"weight": weights[p, n]}) for p in range(count) if p != n)
    best = networkx.maximum_spanning_arborescence(every)
    assert tree_weight(weights, found.parents.tolist(), 0.3) == pytest.approx(best.size(weight="weight"))
    if seed % 3 == 2:
        assert {(p, n) for p, n in best.edges if p != "root"} == {(int(p), int(n)) for p, n in found.edges}


def symmetric(count: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(-1, 1, (count, count)).astype(np.float32)
    return (values + values.T) / 2


@pytest.mark.parametrize("seed", range(10))
def test_the_spanning_tree_is_the_largest_and_hangs_at_its_centre(seed):
    similarity = symmetric(2 + 2 * seed, seed)
    tree = spanning_tree(similarity)
    every = networkx.Graph()
    count = len(similarity)
    every.add_weighted_edges_from((a, b, float(similarity[a, b])) for a in range(count) for b in range(a))
    best = networkx.maximum_spanning_tree(every)
    assert {frozenset(edge) for edge in best.edges} == {frozenset(map(int, edge)) for edge in tree.edges}
    assert (tree.parents == ROOT).sum() == 1
    central = networkx.betweenness_centrality(best)
    assert central[int(np.flatnonzero(tree.parents == ROOT)[0])] == pytest.approx(max(central.values()))


def test_agglomerative_by_hand():
    """0 and 1 are nearest, then 2 and 3, then both pairs; 1 and 2 are more general than their partners, 2 than 1."""
    similarity = np.full((4, 4), 0.1, np.float32)
    similarity[0, 1] = similarity[1, 0] = 0.9
    similarity[2, 3] = similarity[3, 2] = 0.8
    tree = agglomerative_tree(similarity, np.array([0.1, 0.5, 0.6, 0.2]))
    assert tree.parents.tolist() == [1, 2, ROOT, 2]


@pytest.mark.parametrize("linkage", LINKAGES)
def test_agglomerative_heads_are_more_general(linkage):
    random = np.random.default_rng(4)
    generality = random.random(25)
    tree = agglomerative_tree(symmetric(25, 3), generality, linkage)
    assert (tree.parents == ROOT).sum() == 1
    assert all(generality[parent] > generality[child] for parent, child in tree.edges)
