"""What trees are measured by: examples by hand, and what must hold by chance."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.concepts.tree_metrics import (
    UNKNOWN,
    ancestor_agreement,
    cluster_share,
    edge_agreement,
    nearest_edges,
    proxy_distance,
    random_edges,
)
from musicstar_ext.concepts.trees import ROOT, Tree


def test_cluster_share_by_hand():
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    clusters = np.array([0, 0, 1, 1, UNKNOWN])
    found = cluster_share(edges, clusters)
    assert (found.share, found.edges) == (pytest.approx(2 / 3), 3)
    # Of 4 concepts in pairs, two are of one cluster with probability 1/3.
    assert found.chance == pytest.approx(1 / 3, abs=0.05)
    # Only 0 0 1 1 and 1 1 0 0 have two equal neighbours: 8 of 24 deals.
    assert found.p == pytest.approx(1 / 3, abs=0.06)


def test_cluster_share_of_a_perfect_tree_is_no_chance():
    clusters = np.repeat(np.arange(5), 8)
    parents = np.array([n - 1 if n % 8 else ROOT for n in range(40)])
    found = cluster_share(Tree(parents).edges, clusters, permutations=200)
    assert found.share == 1
    assert found.p == pytest.approx(1 / 201)


def test_p_is_uniform_where_nothing_is_to_be_found():
    random = np.random.default_rng(0)
    values = []
    for seed in range(120):
        tree = Tree(np.array([random.integers(-1, n) for n in range(40)]))
        values.append(cluster_share(tree.edges, random.integers(0, 4, 40), 99, seed).p)
    assert 0.4 < np.mean(values) < 0.65
    assert np.mean(np.array(values) <= 0.1) < 0.2


def test_nothing_known_is_nan():
    assert np.isnan(cluster_share(np.zeros((0, 2), np.int64), np.array([0, 1])).share)
    found = edge_agreement(Tree(np.array([ROOT, 0])), Tree(np.array([ROOT, ROOT])))
    assert np.isnan(found.f1)
    empty = edge_agreement(Tree(np.array([ROOT, ROOT])), Tree(np.array([ROOT, 0])))
    assert (empty.recall, empty.f1, empty.p) == (0, 0, 1)


def test_agreement_by_hand():
    known = Tree(np.array([ROOT, 0, 1, 1]))  # 0 > 1 > {2, 3}
    found = Tree(np.array([ROOT, 0, 1, 0]))  # 3 hangs one level too high
    edge = edge_agreement(found, known)
    assert (edge.precision, edge.recall, edge.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    ancestor = ancestor_agreement(found, known)  # found 01 12 02 03, known 01 12 02 13 03
    assert (ancestor.precision, ancestor.recall) == pytest.approx((1, 4 / 5))
    assert ancestor.f1 == pytest.approx(8 / 9)


def test_agreement_with_itself_is_whole_and_no_chance():
    tree = Tree(np.array([(n - 1) // 3 if n else ROOT for n in range(40)]))
    for measure in (edge_agreement, ancestor_agreement):
        same = measure(tree, tree, 200)
        assert same[:3] == (1, 1, 1)
        assert same.chance < 0.2
        assert same.p == pytest.approx(1 / 201)


def test_proxy_distance():
    embedding = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [np.nan, np.nan]])
    edges = np.array([[0, 1], [0, 2], [1, 3]])
    assert proxy_distance(edges, embedding) == pytest.approx(3)
    assert np.isnan(proxy_distance(edges[2:], embedding))
    shifted = embedding + 1
    cosine = 1 - (4 + 5) / (2**0.5 * 41**0.5)
    assert proxy_distance(edges[:1], shifted, "cosine") == pytest.approx(cosine)


def test_nearest_edges_leave_themselves_out():
    s = np.array([[0.9, 0.1, 0.6], [0.2, 0.9, 0.7], [0.3, 0.4, 0.9]], np.float32)
    assert nearest_edges(s).tolist() == [[2, 0], [2, 1], [1, 2]]


@pytest.mark.parametrize("count", [2, 5, 1000])
def test_random_edges_join_no_concept_with_itself(count):
    edges = random_edges(count)
    assert (edges[:, 0] != edges[:, 1]).all()
    assert (edges.min(), edges.max()) == (0, count - 1)
