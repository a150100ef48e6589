"""Whatever ends a training, its last checkpoint is whole, and resuming from it repeats the uninterrupted run."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import resource
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from musicstar_ext import checkpoints
from musicstar_ext.train import main
from musicstar_ext.training.run_folder import RunFolder

from .runs import assert_same, losses, state

KILLS = 20
SLOW_TO_IMPORT = ["musicstar_ext.training.loop", "torch.utils.tensorboard", "torch._dynamo"]


def arguments(data: Path, folder: Path, settings: list[str], resume: bool) -> list[str]:
    common = ["mixture-supervised", "--data", str(data), "--run", str(folder), "--set", *settings]
    return common + ["--resume"] * resume


def test_killed_twenty_times_and_resumed_equals_uninterrupted(tiny_set, tiny_settings, tmp_path):
    """SIGKILL at random moments of trainings that save every step: half of them anywhere, half of them while saving."""
    context = multiprocessing.get_context("forkserver")  # a process that has torch starts in milliseconds
    context.set_forkserver_preload(SLOW_TO_IMPORT)
    settings = [*tiny_settings, "optimizer=muon", "ema=0.9", "validate_every=20"]
    killed, moment = tmp_path / "killed", random.Random(1)
    assert main(arguments(tiny_set, killed, [*settings, "max_minutes=1e-9"], resume=False)) == 0
    reached = 0
    for kill in range(KILLS):
        endless = ["max_minutes=0", "steps=1000000", "save_every=1"]
        command = arguments(tiny_set, killed, endless, resume=True)
        process = context.Process(target=main, args=(command,))
        process.start()
        if kill % 2:
            wait_for_a_save(process, killed)
        process.join(moment.uniform(0.0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -9
        step = state(killed)["step"]
        assert step > reached if kill % 2 else step >= reached
        reached = step
        for name in ("latest", "best"):
            assert checkpoints.load(killed / f"{name}.safetensors").step <= reached

    last = f"steps={reached + 5}"
    assert main(arguments(tiny_set, killed, [last, "save_every=1000"], resume=True)) == 0
    assert not list(killed.glob(".musicstar-*"))  # what the kills had left half-written
    whole = tmp_path / "whole"
    assert main(arguments(tiny_set, whole, [*settings, last, "save_every=1000"], resume=False)) == 0
    assert_same(state(killed), state(whole))
    assert losses(killed) == losses(whole)


def wait_for_a_save(process: BaseProcess, folder: Path) -> None:
    before = (folder / "latest.state.pt").stat().st_ino
    deadline = time.monotonic() + 300
    while (folder / "latest.state.pt").stat().st_ino == before:
        assert process.is_alive()
        assert time.monotonic() < deadline
        process.join(0.005)


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(tiny_set, tiny_settings, tmp_path, capsys, monkeypatch):
    """From the sixth save on, the system refuses to write more than half of a checkpoint's file."""
    folder, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    save, saves = RunFolder.save, itertools.count(1)

    def save_on_a_small_disk(run_folder, name, *content):
        if next(saves) == 6:
            half = (folder / "latest.state.pt").stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (half, limits[1]))
        save(run_folder, name, *content)

    monkeypatch.setattr(RunFolder, "save", save_on_a_small_disk)
    settings = [*tiny_settings, "steps=1000", "save_every=1", "validate_every=1000"]
    try:
        assert main(arguments(tiny_set, folder, settings, resume=False)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "latest.state.pt: cannot be written: File too large" in error
    assert checkpoints.load(folder / "latest.safetensors").step == state(folder)["step"] == 3
    assert not list(folder.glob(".musicstar-*"))
    assert main(arguments(tiny_set, folder, ["steps=5"], resume=True)) == 0


def test_one_training_at_a_time_in_a_folder(tiny_set, tiny_settings, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(arguments(tiny_set, folder, [*tiny_settings, "steps=1"], resume=False)) == 0
    capsys.readouterr()
    with RunFolder(folder).held():
        assert main(arguments(tiny_set, folder, ["steps=3"], resume=True)) == 2
    error = capsys.readouterr().err
    assert "another training is under way in this folder" in error
    assert error.count("\n") == 1
    assert state(folder)["step"] == 1
    assert main(arguments(tiny_set, folder, ["steps=3"], resume=True)) == 0
