"""Concept vectors: each learner finds a direction that is there, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="learning concepts needs scikit-learn")
pytest.importorskip("torch")

from musicstar_ext.concepts.cav import LEARNERS, Part, Scale, Vector
from musicstar_ext.concepts.measures import area_under_curve, balanced_accuracy

CHANNELS = 6


def two_clouds(tracks: int, seed: int, distance: float = 3.0) -> Part:
    """A third of the tracks are members, apart from the others in channel 1 only; other channels have other scales."""
    random = np.random.default_rng(seed)
    members = np.arange(tracks) % 3 == 0
    features = random.normal(size=(tracks, CHANNELS))
    features[:, 1] += distance * members
    return Part(features * np.array([1, 1, 100, 0.01, 1, 1]) + np.array([0, 0, 5, 0, -7, 0]), members)


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learner_finds_the_direction(name):
    train, validation, test = two_clouds(240, 1), two_clouds(60, 2), two_clouds(300, 3)
    scale = Scale.of(train.features)
    parts = [Part(scale.scaled(part.features), part.members) for part in (train, validation, test)]
    found = LEARNERS[name](parts[0], parts[1], 0)
    assert np.abs(found.vector).argmax() == 1
    assert found.vector[1] > 0
    # Two normal distributions 3 apart: the best border is right in 93 % of each.
    assert balanced_accuracy(found.scores(parts[2].features), test.members).value == pytest.approx(0.933, abs=0.04)
    again = LEARNERS[name](parts[0], parts[1], 0)
    np.testing.assert_array_equal(again.vector, found.vector)


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_found_where_nothing_is(name):
    parts = [two_clouds(count, seed, distance=0.0) for count, seed in ((240, 1), (60, 2), (300, 3))]
    scale = Scale.of(parts[0].features)
    train, validation, test = (Part(scale.scaled(part.features), part.members) for part in parts)
    found = LEARNERS[name](train, validation, 0)
    assert balanced_accuracy(found.scores(test.features), test.members).value == pytest.approx(0.5, abs=0.1)


def test_the_mean_difference_is_what_it_says():
    part = two_clouds(30, 4)
    found = LEARNERS["mean-difference"](part, part, 0)
    members, others = part.features[part.members], part.features[~part.members]
    np.testing.assert_allclose(found.vector, members.mean(0) - others.mean(0))
    middle = (members.mean(0) + others.mean(0)) / 2
    assert found.scores(middle[None])[0] == pytest.approx(0.5)


def test_vectors_are_for_features_as_they_are():
    part = two_clouds(50, 6)
    scale = Scale.of(part.features)
    found = Vector(np.random.default_rng(0).normal(size=CHANNELS), 0.3)
    np.testing.assert_allclose(scale.unscaled(found).scores(part.features), found.scores(scale.scaled(part.features)))


def test_a_channel_that_never_changes_does_no_harm():
    features = np.concatenate([two_clouds(20, 1).features, np.full((20, 1), 3.0)], axis=1)
    assert np.isfinite(Scale.of(features).scaled(features)).all()


def test_measures_against_their_definitions():
    random = np.random.default_rng(9)
    scores, members = random.random(200).round(2), random.random(200) < 0.2
    accuracy = balanced_accuracy(scores, members)
    right = [(scores[members] >= 0.5).mean(), (scores[~members] < 0.5).mean()]
    assert accuracy.value == pytest.approx(np.mean(right))
    assert accuracy.low < accuracy.value < accuracy.high
    from sklearn.metrics import roc_auc_score

    area = area_under_curve(scores, members)
    assert area.value == pytest.approx(roc_auc_score(members, scores))
    assert area.low < area.value < area.high
    assert area_under_curve(scores, members) == area


def test_an_empty_class_has_no_figure():
    for measure in (balanced_accuracy, area_under_curve):
        assert np.isnan(measure(np.ones(3), np.zeros(3, bool))).all()
        one = measure(np.array([0.9, 0.1, 0.2]), np.array([True, False, False]))
        assert one.value == 1
        assert np.isnan(one.low)
