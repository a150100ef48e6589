"""Who fires on whose tracks, against the equation written out; what cannot be compared is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from concept_trees import concept_tree

from musicstar_ext.concepts import similarity
from musicstar_ext.concepts.similarity import check, cosine, firing
from musicstar_ext.errors import UserError

pytest.importorskip("scipy")


@pytest.mark.parametrize("block", [similarity.BLOCK, 1, 100])
def test_similarity_is_the_papers(block, monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK", block)
    concepts = concept_tree((2, 2), tracks=3)
    found = firing(concepts)
    for i in range(len(concepts.names)):
        tracks = [t for t in range(len(concepts.tracks)) if concepts.members[t, i]]
        for j in range(len(concepts.names)):
            scores = [
                1 / (1 + math.exp(-float(concepts.vectors[j] @ concepts.features[t]) - float(concepts.biases[j])))
                for t in tracks
            ]
            assert found[i, j] == pytest.approx(sum(scores) / len(scores), abs=1e-5)


def test_general_concepts_fire_on_special_ones():
    concepts = concept_tree((4, 3))
    found = firing(concepts)
    up, down = zip(*((concepts.number(p), concepts.number(c)) for c, p in concepts.parents.items()), strict=True)
    assert found[list(down), list(up)].mean() > found[list(up), list(down)].mean() + 0.05


def test_large_scores_do_not_overflow():
    concepts = concept_tree((3,))
    found = firing(replace(concepts, vectors=concepts.vectors * 1e4))
    assert np.isfinite(found).all()
    assert 0 <= found.min() <= found.max() <= 1


def test_cosine():
    vectors = np.array([[1, 0], [1, 1], [-2, 0], [0, 0]], np.float32)
    expected = [[1, 2**-0.5, -1, 0], [2**-0.5, 1, -(2**-0.5), 0], [-1, -(2**-0.5), 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(cosine(vectors), expected, atol=1e-6)


def spoiled(concepts, name, place, value):
    array = getattr(concepts, name).copy()
    array[place] = value
    return replace(concepts, **{name: array})


@pytest.mark.parametrize(
    ("name", "place", "value", "said"),
    [
        ("vectors", (1, 2), np.nan, "b: its vector is not finite"),
        ("biases", 2, np.inf, "c: its vector is not finite"),
        ("means", 1, np.nan, "b: its mean is not finite"),
        ("features", (3, 0), np.nan, r"a-3\.wav: its features are not finite"),
        ("members", (slice(None), [0, 1]), 0, r"a: it has no tracks \(1 more"),
    ],
)
def test_what_cannot_be_compared_is_named(name, place, value, said):
    concepts = concept_tree((3,))
    check(concepts)
    with pytest.raises(UserError, match=said):
        check(spoiled(concepts, name, place, value))


def test_one_concept_is_no_hierarchy():
    with pytest.raises(UserError, match="at least two concepts, and here is 1"):
        check(concept_tree((1,)))
