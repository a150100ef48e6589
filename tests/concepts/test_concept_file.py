"""The file of learned concepts: what is written is read, and what is damaged is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from concept_sets import make_concepts

from musicstar_ext.concepts.concept_file import load, save
from musicstar_ext.errors import UserError


def test_what_is_saved_is_read(tmp_path):
    concepts = make_concepts()
    save(concepts, tmp_path / "set.safetensors")
    read = load(tmp_path / "set.safetensors")
    assert (read.names, read.tracks, read.extractor, read.layer) == (
        concepts.names,
        concepts.tracks,
        concepts.extractor,
        concepts.layer,
    )
    for name in ("vectors", "biases", "means", "features", "members", "balanced_accuracy", "auc", "kept"):
        np.testing.assert_array_equal(getattr(read, name), getattr(concepts, name))
    assert (read.clusters, read.parents, read.details) == (concepts.clusters, concepts.parents, concepts.details)


def test_a_score_is_the_papers_sigmoid():
    concepts = make_concepts()
    logits = np.einsum("cd,td->tc", concepts.vectors, concepts.features, dtype=np.float64) + concepts.biases
    np.testing.assert_allclose(concepts.scores(concepts.features), 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_only_kept_concepts_can_be_taken():
    kept = make_concepts().kept_only()
    assert kept.names == ("lute", "viol")
    assert kept.members.shape == (5, 2)
    assert kept.clusters == {"lute": "plucked"}


def test_an_unknown_concept_is_named():
    with pytest.raises(UserError, match="no concept 'drum'; there are lute, viol, harp"):
        make_concepts().number("drum")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"biases": np.zeros(2, np.float32)}, "biases is"),
        ({"names": ("lute", "lute", "harp")}, "the same name"),
        ({"members": np.full((5, 3), 2, np.uint8)}, "members must be 0 or 1"),
        ({"clusters": {"drum": "struck"}}, "no concept"),
        ({"auc": np.zeros(1)}, "auc must have"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        replace(make_concepts(), **change)


def test_other_names_than_safetensors_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        save(make_concepts(), tmp_path / "set.npz")


def test_damage_is_named(tmp_path):
    path = tmp_path / "set.safetensors"
    save(make_concepts(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load(path)
    path.write_bytes(whole.replace(b'channels\\": 4', b'channels\\": 0'))
    with pytest.raises(UserError, match="no number of channels"):
        load(path)
    path.write_bytes(whole.replace(b'\\"lute\\", \\"viol\\"', b'\\"lute\\", \\"lute\\"'))
    with pytest.raises(UserError, match="header is damaged"):
        load(path)
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "missing.safetensors")


def test_values_that_are_not_finite_are_refused(tmp_path):
    concepts = make_concepts()
    path = tmp_path / "set.safetensors"
    save(replace(concepts, vectors=np.full_like(concepts.vectors, np.nan)), path)
    with pytest.raises(UserError, match="vectors holds values that are not finite"):
        load(path)


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.numpy.save({"vectors": np.zeros(3, np.float32)}))
    with pytest.raises(UserError, match="not a concepts file"):
        load(path)
