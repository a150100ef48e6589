"""One command trains a method with all that it builds on: where, with which settings, and how it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from methods.small import SMALL

from musicstar_ext import checkpoints
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.methods import UniversalNetwork
from musicstar_ext.train import main
from musicstar_ext.training.run_folder import RunFolder

RATE = 16_000
DOMAINS = {"winds": ["oboe", "horn", "flute"], "strings": ["viola", "bass", "harp"]}
SINGLE = "single-instrument"
EMBEDDING = "embedding-supervised"


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of three stems in each of two domains."""
    folder = tmp_path_factory.mktemp("small_set")
    random = np.random.default_rng(0)
    tracks = [track for domain, stems in DOMAINS.items() for track in (*stems, domain)]
    entries = {}
    for number, split in enumerate(("train", "validation")):
        audio = {track: random.integers(-3000, 3000, RATE).astype(np.int16) for track in tracks}
        entries[f"piece-{number}"] = write_piece(folder, f"piece-{number}", audio, RATE, {"split": split})
    write_description(folder, RATE, DOMAINS, entries, {"command": "tests"})
    return folder


def run(method: str, data: Path, folder: Path, *settings: str, resume: bool = False) -> int:
    arguments = [method, "--data", str(data), "--run", str(folder)]
    return main(arguments + (["--set", *settings] if settings else []) + (["--resume"] if resume else []))


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def steps(folder: Path) -> int:
    return torch.load(folder / "latest.state.pt", weights_only=True)["step"]


@pytest.fixture(scope="module")
def embedding_run(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "embedding"
    settings = [*SMALL[EMBEDDING], "seed=5", "single.seed=6", "source=strings"]
    assert run(EMBEDDING, small_set, folder, *settings) == 0
    return folder


def test_every_stage_is_a_run_of_its_own(embedding_run):
    folders = [embedding_run, embedding_run / "single", embedding_run / "single" / "universal"]
    methods = [EMBEDDING, SINGLE, "universal-network"]
    for folder, method in zip(folders, methods, strict=True):
        assert config(folder)["method"] == method
        assert checkpoints.load(folder / "best.safetensors").method == method
        assert steps(folder) == 4
    start = checkpoints.load(folders[2] / "best.safetensors")
    single = checkpoints.load(folders[1] / "best.safetensors")
    embedding = checkpoints.load(folders[0] / "best.safetensors")
    for key, weight in start.weights["encoder"].items():
        assert np.array_equal(weight, single.weights["encoder"][key])
    for key, weight in single.weights["decoder.oboe"].items():
        assert np.array_equal(weight, embedding.weights["decoder.oboe"][key])
    assert [(b.source, b.target) for b in embedding.branches] == [("strings", stem) for stem in DOMAINS["winds"]]


def test_stages_inherit_what_makes_sense_for_all(embedding_run):
    assert config(embedding_run)["config"]["seed"] == 5
    assert config(embedding_run / "single")["config"]["seed"] == 6
    assert config(embedding_run / "single" / "universal")["config"]["seed"] == 6
    assert config(embedding_run / "single" / "universal")["config"]["source"] == "strings"
    assert config(embedding_run / "single" / "universal")["config"]["learning_rate"] == 1e-3
    assert config(embedding_run)["config"]["learning_rate"] == 3e-4


def test_paths_are_relative_to_the_run_and_checkpoints_name_no_folders(embedding_run):
    assert config(embedding_run)["config"]["single"] == os.path.join("single", "best.safetensors")
    for path in embedding_run.rglob("*.safetensors"):
        assert str(embedding_run.parent) not in json.dumps(checkpoints.load(path).training)
        assert embedding_run.parent.name not in path.read_bytes()[:20_000].decode("latin-1")


def test_a_finished_run_that_was_moved_goes_on(embedding_run, small_set, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(embedding_run, moved)
    before = (moved / "single" / "latest.state.pt").read_bytes()
    assert run(EMBEDDING, small_set, moved, "steps=6", resume=True) == 0
    told = capsys.readouterr().out
    assert "stage 1 of 3: universal-network" in told
    assert told.count("finished before") == 2
    assert steps(moved) == 6
    assert (moved / "single" / "latest.state.pt").read_bytes() == before


def test_a_finished_stage_is_not_changed(embedding_run, small_set, capsys):
    assert run(EMBEDDING, small_set, embedding_run, "single.steps=9", resume=True) == 2
    assert "single: it is finished, its settings can no longer change" in capsys.readouterr().err


def test_a_checkpoint_takes_the_place_of_a_stage(embedding_run, small_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = os.path.relpath(embedding_run / "single" / "best.safetensors")
    settings = [setting for setting in SMALL[EMBEDDING] if not setting.startswith("single.")]
    assert run(EMBEDDING, small_set, Path("run"), *settings, "source=strings", f"single={made}") == 0
    assert not (tmp_path / "run" / "single").exists()
    recorded = config(tmp_path / "run")["config"]["single"]
    assert (tmp_path / "run" / recorded).resolve() == (embedding_run / "single" / "best.safetensors").resolve()
    monkeypatch.chdir("/")
    assert run(EMBEDDING, small_set, tmp_path / "run", "steps=5", resume=True) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_interrupted_in_a_stage_it_goes_on_there(small_set, tmp_path, monkeypatch, number, status):
    folder, loss, calls = tmp_path / "run", UniversalNetwork.loss, iter(range(1000))

    def interrupted(model: UniversalNetwork, crops: dict) -> torch.Tensor:
        if next(calls) == 2:
            signal.raise_signal(number)
        return loss(model, crops)

    monkeypatch.setattr(UniversalNetwork, "loss", interrupted)
    assert run(SINGLE, small_set, folder, *SMALL[SINGLE], "universal.steps=1000") == status
    assert steps(folder / "universal") == 3
    assert not (folder / "latest.state.pt").exists()
    assert "finished" not in config(folder / "universal")
    assert run(SINGLE, small_set, folder, "universal.steps=6", resume=True) == 0
    assert steps(folder / "universal") == 6
    assert steps(folder) == 4
    assert config(folder / "universal")["finished"] is True


def test_stopped_and_resumed_equals_uninterrupted(small_set, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(SINGLE, small_set, whole, *SMALL[SINGLE]) == 0
    assert run(SINGLE, small_set, parts, *SMALL[SINGLE], "steps=1") == 0
    assert run(SINGLE, small_set, parts, "steps=4", resume=True) == 0
    first, second = (checkpoints.load(folder / "latest.safetensors") for folder in (whole, parts))
    for name, weights in first.weights.items():
        for key, weight in weights.items():
            assert np.array_equal(weight, second.weights[name][key])


def test_max_minutes_of_a_stage_ends_it_and_of_the_command_ends_all(small_set, tmp_path):
    endless = ["universal.steps=0", "universal.epochs=100000000"]
    assert run(SINGLE, small_set, tmp_path / "a", *SMALL[SINGLE], *endless, "universal.max_minutes=0.01") == 0
    assert config(tmp_path / "a" / "universal")["finished"] is True
    assert steps(tmp_path / "a") == 4
    assert run(SINGLE, small_set, tmp_path / "b", *SMALL[SINGLE], *endless, "max_minutes=0.01") == 0
    assert "finished" not in config(tmp_path / "b" / "universal")
    assert not (tmp_path / "b" / "latest.state.pt").exists()


REFUSED = {
    "unknown key": (SINGLE, ["bach=4"], "unknown key 'bach'; known: batch,", "universal.KEY with a key of universal-"),
    "unknown key of a stage": (SINGLE, ["universal.bach=4"], "universal: --set: unknown key 'bach'; known: batch", ""),
    "nested": (EMBEDDING, ["single.universal.batch=0"], "error: single.universal: batch must be at least 1, not 0", ""),
    "no use": (SINGLE, ["universal=it.safetensors", "universal.batch=3"], "universal.batch=3 has no use", ""),
    "sizes that will not fit": (
        EMBEDDING,
        ["encoder.code_channels=5"],
        "encoder.code_channels must be 4, as in the checkpoint of single, not 5",
        "",
    ),
    "direction": (SINGLE, ["source=drums"], "must be two of the domains (winds, strings), not 'drums'", ""),
    "stems that will be missing": (SINGLE, ["universal.stems=viola"], "has no decoder of 'bass'; it has viola", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_are_refused_before_anything_is_trained(case, small_set, tmp_path, capsys):
    method, settings, message, other = REFUSED[case]
    known = [setting for setting in SMALL[method] if "=" not in settings[0] or not settings[0].startswith("universal=")]
    assert run(method, small_set, tmp_path / "run", *known, *settings) == 2
    error = capsys.readouterr().err
    assert message in error
    assert other in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_stage_is_not_overwritten(embedding_run, small_set, tmp_path, capsys):
    folder = tmp_path / "run"
    RunFolder(folder / "universal").create({"method": "universal-network", "config": {}, "data": {}})
    assert run(SINGLE, small_set, folder, *SMALL[SINGLE]) == 2
    assert "universal: already holds a run" in capsys.readouterr().err
    assert not (folder / "config.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": 3}, "is damaged (its stages are no settings)"),
        ({"stages": {"single": {}}}, "is damaged (it has no settings of single.universal)"),
    ],
)
def test_a_damaged_description_is_refused(change, message, embedding_run, small_set, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config(embedding_run), **change}))
    assert run(EMBEDDING, small_set, tmp_path / "run", resume=True) == 2
    assert message in capsys.readouterr().err


def test_another_method_does_not_resume(embedding_run, small_set, capsys):
    assert run(SINGLE, small_set, embedding_run, resume=True) == 2
    assert f"the run trains {EMBEDDING}, not {SINGLE}" in capsys.readouterr().err


def test_arguments_that_are_wrong_are_one_line(small_set, capsys):
    assert main([SINGLE, "--data", str(small_set)]) == 2
    assert capsys.readouterr().err == (
        "train: error: the following arguments are required: --run (--help lists the options)\n"
    )
