"""`concepts learn` on tones: what is learned, what is left out and said, and the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

pytest.importorskip("sklearn", reason="learning concepts needs scikit-learn")
pytest.importorskip("torch")

from concept_sets import ToyExtractor, tone

from musicstar_ext.cache import Cache
from musicstar_ext.concepts import extractors
from musicstar_ext.concepts.__main__ import main
from musicstar_ext.concepts.cav import LEARNERS
from musicstar_ext.concepts.concept_file import load
from musicstar_ext.concepts.extractors import pooled
from musicstar_ext.concepts.learn import Protocol, learn_concepts, split_tracks
from musicstar_ext.concepts.tracks import read_labels
from musicstar_ext.errors import UserError

RATE = 16_000
PROTOCOL = Protocol(least_tracks=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 low and 30 high tones, 30 that are either (a concept with nothing to it), and 4 of a small concept."""
    place = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(1)
    for concept, low, high, count in (
        ("low", 100, 150, 30),
        ("high", 500, 700, 30),
        ("either", 100, 700, 30),
        ("few", 300, 310, 4),
    ):
        (place / concept).mkdir()
        for number in range(count):
            samples = tone(random.uniform(low, high), 0.4, random.integers(1 << 30))
            soundfile.write(place / concept / f"{number:02}.wav", samples, RATE, subtype="FLOAT")
    return place


def silent(*_):
    """Progress that nobody watches."""


def learned(folder, protocol=PROTOCOL, layers=("bands",), extractor=None):
    said: list[str] = []
    labels = read_labels(folder, said.append)
    found = learn_concepts(labels, extractor or ToyExtractor(), layers, protocol, Cache(None), said.append, silent)
    return (*found, said)


def test_concepts_that_are_there_are_found(folder):
    concepts, found, said = learned(folder, layers=("bands", "noise"))
    assert concepts.names == ("either", "high", "low")
    accuracy = dict(zip(concepts.names, concepts.balanced_accuracy, strict=True))
    assert accuracy["low"] > 0.9
    assert accuracy["high"] > 0.8
    assert concepts.auc[2] > 0.95
    assert concepts.kept[concepts.number("low")]
    assert np.mean([one.shuffled_accuracy for one in found["bands"]]) < 0.7
    assert np.mean([one.accuracy.value for one in found["noise"]]) < 0.65
    assert said == ["concept 'few' is left out: has 4 tracks, fewer than 10"]
    scores = concepts.scores(concepts.features)[:, concepts.number("low")]
    members = concepts.members[:, concepts.number("low")] == 1
    assert scores[members].mean() > 0.7 > 0.5 > scores[~members].mean()
    np.testing.assert_allclose(concepts.means[2], concepts.features[members].mean(0), rtol=1e-5)


def test_the_same_labels_give_the_same_concepts(folder):
    first, second = learned(folder)[0], learned(folder)[0]
    np.testing.assert_array_equal(first.vectors, second.vectors)
    other = learned(folder, Protocol(least_tracks=10, seed=1))[0]
    assert not np.array_equal(first.vectors, other.vectors)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_method_learns(folder, name):
    concepts = learned(folder, Protocol(learner=name, least_tracks=10))[0]
    assert concepts.balanced_accuracy[2] > 0.85


def test_no_track_is_learned_from_and_tested_on(folder):
    tracks = read_labels(folder, lambda line: None).tracks
    splits = split_tracks(tracks, PROTOCOL)
    for concept, expected in (("low", [21, 3, 6]), ("either", [21, 3, 6]), ("few", [3, 0, 1])):
        inside = splits[[track.concepts == {concept} for track in tracks]]
        assert [int((inside == split).sum()) for split in ("train", "validation", "test")] == expected
    backwards = split_tracks(tracks[::-1], PROTOCOL)
    np.testing.assert_array_equal(backwards[::-1], splits)  # whatever the order
    for track in tracks[:40]:
        track.split = "test"
    for track in tracks[40:]:
        track.split = "train"
    given = split_tracks(tracks, PROTOCOL)
    assert (given[:40] == "test").all()
    assert int((given == "validation").sum()) == round(0.125 * 54)


def test_concepts_with_too_many_tracks_are_said(folder):
    said: list[str] = []
    labels = read_labels(folder, said.append)
    labels.tracks = [track for track in labels.tracks if track.concepts != {"high"} or track.name < "high/25"]
    protocol = Protocol(least_tracks=10, most_tracks=25)
    with pytest.raises(UserError, match="no concept has enough tracks") as caught:
        learn_concepts(labels, ToyExtractor(), ["bands"], Protocol(least_tracks=31), Cache(None), said.append, silent)
    assert "--least-tracks" in str(caught.value)
    said.clear()
    found = learn_concepts(labels, ToyExtractor(), ["bands"], protocol, Cache(None), said.append, silent)
    assert found[0].names == ("high",)
    assert "concept 'low' is left out: has 30 tracks, more than 25" in said


def test_one_class_is_said(tmp_path, folder):
    table = tmp_path / "labels.csv"
    rows = [f"{path},tone" for path in sorted(folder.rglob("*.wav"))]
    table.write_text("\n".join(rows))
    said: list[str] = []
    with pytest.raises(UserError, match="no concept has enough tracks"):
        learn_concepts(
            read_labels(table, said.append),
            ToyExtractor(),
            ["bands"],
            PROTOCOL,
            Cache(None),
            said.append,
            silent,
        )
    assert said == ["concept 'tone' is left out: every track belongs to it, so there is nothing to tell it from"]


def test_tracks_that_cannot_be_used_are_said_and_the_rest_goes_on(tmp_path, folder):
    table = tmp_path / "labels.csv"
    rows = [f"{path},{path.parent.name}" for path in sorted(folder.rglob("*.wav"))]
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "nan.wav", np.full(8000, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", np.zeros(80, np.float32), RATE)
    table.write_text("\n".join([*rows, "text.wav,low", "nan.wav,low", "short.wav,low", "gone.wav,low"]))
    concepts, _, said = learned(table)
    assert len(concepts.tracks) == 94
    for name, reason in (
        ("text.wav", "not an audio file"),
        ("nan.wav", "not finite"),
        ("short.wav", "too short"),
        ("gone.wav", "No such file"),
    ):
        assert sum(name in line and reason in line for line in said) == 1


def test_features_that_are_not_finite_are_said(folder):
    class Broken(ToyExtractor):
        def features(self, samples, layers=("bands",)):
            found = super().features(samples, layers)
            if self.calls % 10 == 0:
                found["bands"][0] = np.nan
            return found

    concepts, _, said = learned(folder, extractor=Broken())
    assert len(concepts.tracks) == 94 - 9
    assert sum("features in layer bands of toy are not finite" in line for line in said) == 9


def test_features_are_computed_once(tmp_path):
    extractor, cache, samples = ToyExtractor(), Cache.at(tmp_path), tone(200, 0.5, 3)
    first = pooled(extractor, samples, ["bands"], cache)["bands"]
    second = pooled(extractor, samples, ["bands"], cache)["bands"]
    assert extractor.calls == 1
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, extractor.features(samples)["bands"].mean(0), rtol=1e-6)
    early = pooled(extractor, samples, ["bands"], cache, (0.0, 0.2))["bands"]
    np.testing.assert_allclose(early, extractor.features(samples)["bands"][:2].mean(0), rtol=1e-6)


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(extractors, "open_extractor", lambda text: ToyExtractor())
    output = tmp_path / "set.safetensors"
    tree = tmp_path / "tree.csv"
    tree.write_text("low,tones\nhigh,tones\n")
    cache = str(tmp_path / "cache")
    options = ["learn", str(folder), "-o", str(output), "--tree", str(tree), "--least-tracks", "10", "--cache", cache]
    assert main(options) == 0
    printed = capsys.readouterr()
    assert "3 concepts" in printed.out
    assert "with shuffled labels" in printed.out
    assert "concept 'few' is left out" in printed.err
    concepts = load(output)
    assert concepts.clusters == {"low": "tones", "high": "tones"}
    assert concepts.parents == {"low": "tones", "high": "tones"}
    assert main([*options, "--json", "--layer", "noise", "--layer", "bands"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["layers"]) == ["noise", "bands"]
    assert load(output).layer == "noise"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--extractor", "nothing"], "neither musicnn, log-mel, style:FILE nor a model"),
        (["--extractor", "log-mel", "--layer", "pool5"], "log-mel has no layer 'pool5'"),
        (["--extractor", "log-mel", "--shares", "1,2,3"], "three shares"),
        (["--extractor", "log-mel", "--least-tracks", "-1"], "whole number"),
        (["--extractor", "style:missing.safetensors"], "missing.safetensors: cannot be read"),
        (["--extractor", "missing.safetensors:encoder"], "missing.safetensors"),
        (["--tree", "missing.csv"], "missing.csv: cannot be read"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(folder, tmp_path, capsys, options, problem):
    output = tmp_path / "set.safetensors"
    assert main(["learn", str(folder), "-o", str(output), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert problem in error
    assert list(tmp_path.iterdir()) == []
