"""The command: what a run leaves, how it resumes, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from math import nan
from pathlib import Path

import pytest
import torch

import musicstar_ext
from musicstar_ext import checkpoints
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.methods import MixtureSupervised
from musicstar_ext.train import main

from .runs import losses, state, wait_until

FILES = {
    "config.json",
    "log.csv",
    "latest.state.pt",
    "latest.safetensors",
    "best.safetensors",
    "tensorboard",
}


def run(data: Path, folder: Path, *settings: str, resume: bool = False) -> int:
    arguments = ["mixture-supervised", "--data", str(data), "--run", str(folder)]
    return main(arguments + (["--set", *settings] if settings else []) + (["--resume"] if resume else []))


def test_a_run_learns_and_leaves_a_model_for_the_core(tiny_set, tiny_settings, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(tiny_set, folder, *tiny_settings, "steps=60", "initialisation=variance-preserving") == 0
    assert {path.name for path in folder.iterdir()} == FILES

    rows = losses(folder)
    first, last = float(rows[0][2]), float(rows[-1][2])
    assert rows[0][0] == "0"
    assert rows[-1][0] == "60"
    assert last < first - 0.3

    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(rows)
    assert "step 60/60" in told[-1]
    assert all(word in told[-2] for word in ("loss", "nats", "k samples/s", "left"))

    best = checkpoints.load(folder / "best.safetensors")
    assert best.method == "mixture-supervised"
    assert best.domains == {"source": "bright", "target": "dark"}
    assert best.levels == {name: PreparedSet.open(tiny_set).levels[name] for name in ("bright", "dark")}
    assert best.training["losses"]["unit"] == "nats"
    assert best.step in {int(row[0]) for row in rows if row[2] != "nan"}
    validations = [float(row[2]) for row in rows if row[2] != "nan"]
    assert best.training["losses"]["best_validation"] == pytest.approx(min(validations), abs=1e-4)
    assert best.training["data"]["train_pieces"] == 2
    assert best.training["config"]["steps"] == 60
    samples = musicstar_ext.load(folder / "best.safetensors").translate(torch.zeros(800).numpy(), 16_000)
    assert samples.shape == (800,)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends(tiny_set, tiny_settings, tmp_path, number, status):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "musicstar_ext.train", "mixture-supervised", "--data", str(tiny_set)]
    settings = [*tiny_settings, "steps=100000", "save_every=100000", "validate_every=100000"]
    process = subprocess.Popen([*command, "--run", str(folder), "--set", *settings])
    try:
        wait_until(lambda: (folder / "log.csv").exists() and len(losses(folder)) > 2, process)
        process.send_signal(number)
        assert process.wait(timeout=120) == status
    finally:
        process.kill()
    assert state(folder)["step"] > 0
    assert checkpoints.load(folder / "latest.safetensors").step == state(folder)["step"]


def test_a_warm_start_has_the_checkpoints_weights(tiny_set, tiny_settings, tmp_path):
    assert run(tiny_set, tmp_path / "first", *tiny_settings) == 0
    start = tmp_path / "first" / "best.safetensors"
    assert run(tiny_set, tmp_path / "second", *tiny_settings, "steps=1", f"init_from={start}") == 0
    assert float(losses(tmp_path / "second")[0][2]) == pytest.approx(
        min(float(r[2]) for r in losses(tmp_path / "first"))
    )


def test_the_other_direction(tiny_set, tiny_settings, tmp_path):
    assert run(tiny_set, tmp_path / "run", *tiny_settings, "steps=1", "source=dark", "target=bright") == 0
    checkpoint = checkpoints.load(tmp_path / "run" / "latest.safetensors")
    assert checkpoint.domains == {"source": "dark", "target": "bright"}


def test_max_minutes_ends_a_run(tiny_set, tiny_settings, tmp_path):
    assert run(tiny_set, tmp_path / "run", *tiny_settings, "steps=0", "epochs=1000000", "max_minutes=0.02") == 0
    assert 0 < state(tmp_path / "run")["step"] < 1_000_000


REFUSED = {
    "unknown key": (["encoder.chanels=3"], "unknown key 'encoder.chanels'; known: batch, crop_seconds"),
    "no value": (["batch"], "--set takes KEY=VALUE, not 'batch'"),
    "not a whole number": (["batch=2.5"], "batch must be a whole number, not '2.5'"),
    "not a number": (["learning_rate=fast"], "learning_rate must be a number, not 'fast'"),
    "not finite": (["learning_rate=nan"], "learning_rate must be a finite number, not 'nan'"),
    "out of range": (["batch=0"], "batch must be at least 1, not 0"),
    "negative": (["steps=-1"], "steps must be at least 0, not -1"),
    "not a choice": (["precision=fp8"], "precision must be one of fp32, bf16, not 'fp8'"),
    "size out of range": (["encoder.channels=0"], "encoder: channels must be a positive integer, not 0"),
    "pools differ": (["encoder.pool=80"], "encoder.pool and decoder.pool must be equal, not 80 and 160"),
    "codes differ": (["decoder.condition_channels=3"], "must be equal, not 4 and 3"),
    "no such domain": (["source=drums"], "must be two of the domains (bright, dark), not 'drums'"),
    "one domain twice": (["source=dark", "target=dark"], "must be two of the domains"),
    "no such start": (["init_from=nowhere.safetensors"], "nowhere.safetensors: cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_are_refused_in_one_line(case, tiny_set, tiny_settings, tmp_path, capsys):
    settings, message = REFUSED[case]
    assert run(tiny_set, tmp_path / "run", *tiny_settings, *settings) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_start_of_other_sizes_is_refused(tiny_set, tiny_settings, tiny_model, tmp_path, capsys):
    assert run(tiny_set, tmp_path / "run", *tiny_settings, f"init_from={tiny_model}") == 2
    assert "its encoder does not fit the one to train: " in capsys.readouterr().err


def test_unknown_method_and_missing_data(tiny_set, tmp_path, capsys):
    assert main(["magic", "--data", str(tiny_set), "--run", str(tmp_path / "run")]) == 2
    assert "unknown method 'magic'; known: universal-network, single-instrument" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", tmp_path / "run") == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_a_folder_with_a_run_is_not_overwritten(tiny_set, tiny_settings, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(tiny_set, folder, *tiny_settings, "steps=1") == 0
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert run(tiny_set, folder, *tiny_settings) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_run_is_a_file(tiny_set, tiny_settings, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(tiny_set, tmp_path / "file", *tiny_settings) == 2
    assert "cannot be made a folder" in capsys.readouterr().err


def test_resume_refuses_what_is_not_the_same_run(tiny_set, tiny_settings, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(tiny_set, folder, resume=True) == 2
    assert "holds no run to resume" in capsys.readouterr().err
    assert run(tiny_set, folder, *tiny_settings, "steps=2") == 0
    capsys.readouterr()
    assert run(tiny_set, folder, "learning_rate=1", resume=True) == 2
    assert "the run was started with learning_rate=0.003, not 1.0" in capsys.readouterr().err
    description = json.loads((folder / "config.json").read_text())
    description["data"]["train_samples"] += 1
    (folder / "config.json").write_text(json.dumps(description))
    assert run(tiny_set, folder, resume=True) == 2
    assert "started on other data: train_samples" in capsys.readouterr().err
    (folder / "config.json").write_text("{")
    assert run(tiny_set, folder, resume=True) == 2
    assert "config.json: is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"not a state", None])
def test_a_damaged_state_is_refused(content, tiny_set, tiny_settings, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run(tiny_set, folder, *tiny_settings, "steps=1") == 0
    path = folder / "latest.state.pt"
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    assert run(tiny_set, folder, "steps=2", resume=True) == 2
    error = capsys.readouterr().err
    assert "cannot be read as a training state" in error
    assert error.count("\n") == 1


def test_a_run_ended_before_its_first_save_starts_again(tiny_set, tiny_settings, tmp_path):
    assert run(tiny_set, tmp_path / "whole", *tiny_settings) == 0
    folder = tmp_path / "early"
    assert run(tiny_set, folder, *tiny_settings) == 0
    (folder / "latest.state.pt").unlink()
    assert run(tiny_set, folder, resume=True) == 0
    assert losses(folder) == losses(tmp_path / "whole")


def test_a_loss_that_is_not_finite_ends_the_run(tiny_set, tiny_settings, tmp_path, capsys, monkeypatch):
    finite = MixtureSupervised.loss
    monkeypatch.setattr(MixtureSupervised, "loss", lambda model, crops: finite(model, crops) * (nan if seen() else 1.0))
    calls = iter(range(100))

    def seen() -> bool:
        return next(calls) > 10

    assert run(tiny_set, tmp_path / "run", *tiny_settings, "validate_every=100") == 2
    assert "the loss is nan by step" in capsys.readouterr().err
    assert state(tmp_path / "run")["step"] == 8  # the last that was saved before it
    assert all(torch.isfinite(tensor).all() for tensor in state(tmp_path / "run")["model"].values())


def test_without_torch(monkeypatch, tiny_set, tmp_path, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(tiny_set, tmp_path / "run") == 2
    assert "this needs torch: pip install 'musicstar-ext[train]'" in capsys.readouterr().err
