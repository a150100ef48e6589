"""Translation as a concept shift: a copy does not move, the truth moves all the way."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from concept_sets import ToyExtractor, make_concepts, tone

from musicstar_ext.concepts import extractors
from musicstar_ext.concepts.__main__ import main
from musicstar_ext.concepts.concept_file import save
from musicstar_ext.concepts.extractors import pooled
from musicstar_ext.concepts.shift import ConceptShift, Shift
from musicstar_ext.errors import UserError


@pytest.fixture
def low_and_high():
    """Concepts "lute" and "viol" that fire on low and on high tones."""
    vectors = np.zeros((3, 4), np.float32)
    vectors[0, 0] = vectors[1, 3] = 1
    vectors[0, 3] = vectors[1, 0] = -1
    return replace(make_concepts(), vectors=vectors, biases=np.zeros(3, np.float32))


LOW, HIGH = tone(120, 1.0, 1), tone(700, 1.0, 2)


def test_a_copy_stays_and_the_truth_moves_all_the_way(low_and_high):
    measure = ConceptShift(low_and_high, ToyExtractor(), ["lute"], ["viol"])
    assert -1 <= measure.position(LOW) < 0 < measure.position(HIGH) <= 1
    copy = measure.measure(LOW, LOW, HIGH)
    assert (copy.shift, copy.share) == (0, 0)
    truth = measure.measure(LOW, HIGH, HIGH)
    assert truth.shift > 0.5
    assert truth.share == 1
    assert np.isnan(measure.measure(LOW, HIGH).share)


def test_a_position_is_the_difference_of_the_scores(low_and_high):
    extractor = ToyExtractor()
    features = pooled(extractor, LOW, ["bands"])["bands"]
    lute, viol, _ = 1 / (1 + np.exp(-(low_and_high.vectors.astype(float) @ features)))
    assert ConceptShift(low_and_high, extractor, ["lute"], ["viol"]).position(LOW) == pytest.approx(viol - lute)


def test_a_share_needs_a_way():
    assert np.isnan(Shift(0.2, 0.4, 0.21).share)
    assert Shift(0.0, 0.25, 0.5).share == 0.5


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        (["drum"], ["viol"], "no concept 'drum'"),
        (["lute"], ["lute", "viol"], "'lute' is a concept of both"),
        ([], ["viol"], "need a concept each"),
    ],
)
def test_bad_concepts_are_named(low_and_high, source, target, problem):
    with pytest.raises(UserError, match=problem):
        ConceptShift(low_and_high, ToyExtractor(), source, target)


def test_another_extractor_is_refused(low_and_high):
    other = ToyExtractor()
    other.identity = "toy-2"
    with pytest.raises(UserError, match="learned on other features than those of toy"):
        ConceptShift(low_and_high, other, ["lute"], ["viol"])


def test_the_command(low_and_high, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(extractors, "open_extractor", lambda text: ToyExtractor())
    save(low_and_high, tmp_path / "set.safetensors")
    for name, samples in (("low", LOW), ("high", HIGH)):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
    files = [str(tmp_path / name) for name in ("set.safetensors", "low.wav", "high.wav", "high.wav")]
    assert main(["shift", *files, "--from", "lute", "--to", "viol"]) == 0
    assert "100% of the way" in capsys.readouterr().out
    assert main(["shift", *files[:3], "--from", "lute", "--to", "viol", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shift"] > 0.5
    assert found["gold"] is None
    assert found["share"] is None
    assert main(["shift", files[0], files[1], str(tmp_path / "gone.wav"), "--from", "lute", "--to", "viol"]) == 2
    assert "gone.wav: no such file" in capsys.readouterr().err
