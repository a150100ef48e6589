"""`evaluate train-style` on a toy set of two overtone mixtures: it learns, is repeatable, and says what it did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("librosa")
torch = pytest.importorskip("torch")

from musicstar_ext.data.prepared import PreparedSet  # noqa: E402
from musicstar_ext.data.prepared_writer import write_description, write_piece  # noqa: E402
from musicstar_ext.errors import UserError  # noqa: E402
from musicstar_ext.evaluate import main  # noqa: E402
from musicstar_ext.evaluation.style import StyleModel  # noqa: E402
from musicstar_ext.evaluation.style_training import Segments, StyleRecipe, _others, held_out_scores  # noqa: E402

RATE = 16_000


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random melodies, 8 training and 4 validation pieces of 8 s, played "bright" (overtone 3) and "dark" (none)."""
    folder = tmp_path_factory.mktemp("toy")
    entries = {}
    for number in range(12):
        random = np.random.default_rng(number)
        pitches = np.repeat(random.integers(55, 75, 32), RATE // 4)
        phase = 2 * np.pi * np.cumsum(440 * 2 ** ((pitches - 69) / 12)) / RATE
        hiss = random.standard_normal(len(phase)) * 20
        bright = (5000 * np.sin(phase) + 4000 * np.sin(3 * phase) + hiss).astype(np.int16)
        dark = (7000 * np.sin(phase) + hiss).astype(np.int16)
        split = "train" if number < 8 else "validation"
        tracks = {"lead": bright, "bright": bright, "bass": dark, "dark": dark}
        entries[f"piece-{number}"] = write_piece(folder, f"piece-{number}", tracks, RATE, {"split": split})
    write_description(folder, RATE, {"bright": ["lead"], "dark": ["bass"]}, entries, {"command": "tests"})
    return folder


ARGUMENTS = ["--target", "bright", "--positive", "other", "--epochs", "15", "--batch", "4"]


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StyleModel]:
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "style.safetensors"
    cache = ["--cache", str(tmp_path_factory.getbasetemp() / "cache")]
    assert main(["train-style", "--data", str(toy), "-o", str(path), *ARGUMENTS, *cache]) == 0
    return path, StyleModel.load(path)


def test_it_learns_to_tell_the_domains_apart(trained: tuple[Path, StyleModel]):
    path, model = trained
    losses, held_out = model.description["losses"], model.description["held_out"]
    assert losses[-1] < 0.5 * losses[0] or losses[-1] < 0.01
    assert held_out["gold"] == pytest.approx(1)
    assert held_out["pair_accuracy"] > 0.7
    assert held_out["source"] < held_out["other_gold"] < 1
    assert model.description["source"] == "dark"
    assert model.description["data"]["segments"] == {"train": 8, "validation": 4}
    card = path.with_suffix(".md").read_text()
    for figure in ("pair_accuracy", "source", "noise"):
        assert f"{held_out[figure]:.3f}" in card
    assert "bright, told from dark" in card
    assert sorted(p.name for p in path.parent.iterdir()) == ["style.md", "style.safetensors"]


def test_equal_seeds_give_equal_networks_and_leave_other_random_numbers_alone(
    trained: tuple[Path, StyleModel], toy: Path, tmp_path: Path
):
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    again, other = tmp_path / "again.safetensors", tmp_path / "other.safetensors"
    assert main(["train-style", "--data", str(toy), "-o", str(again), *ARGUMENTS]) == 0
    assert torch.equal(torch.rand(3), expected)
    assert main(["train-style", "--data", str(toy), "-o", str(other), *ARGUMENTS, "--seed", "1"]) == 0
    first, same, different = (
        model.network.state_dict() for model in (trained[1], *map(StyleModel.load, (again, other)))
    )
    learnt = [name for name in first if "num_batches" not in name]
    assert all(torch.equal(first[name], same[name]) for name in learnt)
    assert not all(torch.equal(first[name], different[name]) for name in learnt)


def test_a_saved_network_measures(trained: tuple[Path, StyleModel], toy: Path):
    model = trained[1]
    piece = PreparedSet.open(toy).pieces("validation")[0]
    gold, source = (piece.audio(track).astype(np.float32) / 32768 for track in ("bright", "dark"))
    assert model.cosine(gold, gold) == pytest.approx(1, abs=1e-6)
    assert model.cosine(source, gold) < 0.99
    assert model.cosine(gold[: 3 * RATE], gold) <= 1.0  # shorter than a segment: repeated


def test_published_triplets_are_the_default(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "published.safetensors"
    arguments = ["train-style", "--data", str(toy), "--target", "dark", "-o", str(path), "--epochs", "2"]
    assert main(arguments) == 0
    assert "pair accuracy" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    description = json.loads(capsys.readouterr().out)
    assert StyleModel.load(path).description.items() <= description.items()
    assert description["recipe"]["positive"] == "same"
    assert description["recipe"]["margin"] == 0.1
    assert len(description["losses"]) == 2


def test_others_are_of_other_pieces_where_there_are_any():
    piece = np.array([0, 0, 1, 2, 2])
    for random in (None, np.random.default_rng(0)):
        chosen = _others(piece, random)
        assert (piece[chosen] != piece).all()
    assert (_others(np.zeros(4, int)) != np.arange(4)).all()
    assert _others(np.zeros(1, int)).tolist() == [0]


def test_a_single_held_out_segment_has_no_pair_accuracy(trained: tuple[Path, StyleModel]):
    frames = np.random.default_rng(0).standard_normal((1, 12, 256)).astype(np.float32)
    scores = held_out_scores(trained[1], Segments(frames, frames, np.zeros(1, int)), frames)
    assert scores["pair_accuracy"] is None
    assert scores["source"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--target", "loud"], "say with --source what 'loud' is told from: one of lead, bright, bass, dark"),
        (["--target", "bright", "--source", "loud"], "no track 'loud'"),
        (["--target", "bright", "--source", "bright"], "the source is the target"),
        (["--target", "bright", "--epochs", "0"], "epochs must be at least 1"),
        (["--target", "bright", "--batch", "1"], "batch must be at least 2"),
        (["--target", "bright", "--seed", "-1"], "seed must be at least 0"),
        (["--target", "bright", "--data", "nowhere"], "nowhere: no such folder"),
        (["--target", "bright", "-o", "style.pt"], "must end in .safetensors"),
        (["--target", "bright", "-o", "nowhere/style.safetensors"], "cannot be written"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str],
    problem: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    assert main(["train-style", "--data", str(toy), "-o", "style.safetensors", *arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_validation_pieces_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    samples = np.zeros(2 * RATE, np.int16)
    entry = write_piece(tmp_path, "p", dict.fromkeys("abcd", samples), RATE, {"split": "train"})
    write_description(tmp_path, RATE, {"b": ["a"], "d": ["c"]}, {"p": entry}, {"command": "tests"})
    assert main(["train-style", "--data", str(tmp_path), "--target", "b", "-o", str(tmp_path / "s.safetensors")]) == 2
    assert "no piece of at least a second in the split 'validation'" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("musicstar_ext.evaluation.style_training.triplet_hinge", interrupted)
    path = tmp_path / "style.safetensors"
    assert main(["train-style", "--data", str(toy), "--target", "dark", "-o", str(path)]) == 130
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_checked():
    for bad in ({"margin": 0.0}, {"learning_rate": 0.0}, {"positive": "augmented"}):
        with pytest.raises(UserError, match=next(iter(bad))):
            StyleRecipe(**bad)
