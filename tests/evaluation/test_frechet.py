"""The Frechet distance: Gaussians whose distance is known, and folders from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("sklearn", reason="shrinkage needs scikit-learn (extra eval)")

from musicstar_ext.errors import UserError
from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.frechet import frechet_distance


def normal(mean: np.ndarray, deviation: np.ndarray, count: int = 20_000, seed: int = 1) -> np.ndarray:
    return mean + deviation * np.random.default_rng(seed).standard_normal((count, len(mean)))


def test_a_set_is_at_no_distance_from_itself():
    values = normal(np.zeros(5), np.arange(1.0, 6.0), 200)
    assert frechet_distance(values, values[::-1]) == pytest.approx(0, abs=1e-9)


def test_a_shift_is_its_square():
    values = normal(np.zeros(4), np.ones(4), 50)
    assert frechet_distance(values, values + np.array([3, 0, 4, 0])) == pytest.approx(25)


def test_independent_dimensions_add_the_squares_of_what_deviations_differ_by():
    mean, first, second = np.zeros(4), np.array([1.0, 1.0, 2.0, 0.5]), np.array([1.0, 3.0, 1.0, 1.5])
    distance = frechet_distance(normal(mean, first), normal(mean, second, seed=2))
    assert distance == pytest.approx(np.square(first - second).sum(), rel=0.05)


def test_it_is_symmetric_and_turning_both_sets_changes_nothing():
    first, second = normal(np.zeros(6), np.arange(1.0, 7.0), 100), normal(np.ones(6), np.ones(6), 80, seed=2)
    turn, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))
    distance = frechet_distance(first, second)
    assert frechet_distance(second, first) == pytest.approx(distance)
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(distance)


def test_fewer_samples_than_dimensions_still_give_a_distance():
    distance = frechet_distance(normal(np.zeros(40), np.ones(40), 5), normal(np.ones(40), np.ones(40), 7, seed=2))
    assert 0 < distance < 200


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2 embeddings"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 and 4 dimensions"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite"),
    ],
)
def test_bad_sets_are_refused(first: np.ndarray, second: np.ndarray, problem: str):
    with pytest.raises(UserError, match=problem):
        frechet_distance(first, second)


def test_folders_are_compared(melody: Callable[..., np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for library in ("torch", "librosa"):
        pytest.importorskip(library)
    for name, overtone in (("gold", 2), ("output", 2), ("source", 5)):
        for number in range(4):
            path = tmp_path / name / str(number % 2) / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            pitches = [60 + number, 72 if name == "output" else 64, 67 - number, 62, 65, 69]
            soundfile.write(path, melody(pitches, 0.6, overtone), 16_000)
    folders = [str(tmp_path / name) for name in ("output", "gold")]
    assert main(["frechet", *folders, "--source", str(tmp_path / "source"), "--json"]) == 0
    out, error = capsys.readouterr()
    report = json.loads(out)
    assert report["patches"] == {"output": 4, "gold": 4, "source": 4}
    distances = report["frechet_distance"]
    assert set(distances) == {"output", "source", "gold halves"}
    assert 0 < distances["output"] < distances["source"]
    assert "are few" in error
    assert main(["frechet", folders[1], folders[1]]) == 0
    assert "output           0.0000" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nowhere", "empty", "file.wav"])
def test_bad_folders_are_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    pytest.importorskip("librosa")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.wav").write_bytes(b"")
    assert main(["frechet", str(tmp_path / name), str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1
