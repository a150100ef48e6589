"""Two processes under torchrun train as one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from musicstar_ext import checkpoints
from musicstar_ext.errors import UserError
from musicstar_ext.train import main
from musicstar_ext.training.processes import Processes, place

from .runs import losses, state, wait_until

TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2"]
# torchrun takes --run for an abbreviation of an option of its own, unless "--" ends its options.
COMMAND = [*TORCHRUN, "-m", "--", "musicstar_ext.train", "mixture-supervised"]
EVERYTHING = ["batch=4", "optimizer=muon", "ema=0.9", "clip_norm=1", "clip_value=0.01", "validation_crops=10"]


def start(data: Path, folder: Path, *settings: str, resume: bool = False) -> subprocess.Popen[str]:
    command = [*COMMAND, "--data", str(data), "--run", str(folder), "--set", *settings] + ["--resume"] * resume
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def torchrun(*arguments, **options) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, **options)
    try:
        output, error = process.communicate(timeout=300)
    finally:
        process.terminate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


def assert_close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], rtol=1e-4, atol=2e-5)


@pytest.fixture(scope="module")
def settings(tiny_settings):
    return [*tiny_settings, *EVERYTHING]


@pytest.fixture(scope="module")
def one_process(tiny_set, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    assert main(["mixture-supervised", "--data", str(tiny_set), "--run", str(folder), "--set", *settings]) == 0
    return folder


@pytest.fixture(scope="module")
def two_processes(tiny_set, settings, tmp_path_factory):
    """A run whose first half one process has trained, and the second half two."""
    folder = tmp_path_factory.mktemp("two") / "run"
    command = ["mixture-supervised", "--data", str(tiny_set), "--run", str(folder), "--set", *settings, "steps=10"]
    assert main(command) == 0
    result = torchrun(tiny_set, folder, "steps=20", resume=True)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_two_processes_train_as_one(one_process, two_processes):
    folder, _ = two_processes
    expected, found = state(one_process), state(folder)
    assert found["step"] == expected["step"] == 20
    assert_close(found["model"], expected["model"])
    assert_close(found["average"], expected["average"])
    for one, two in zip(losses(one_process), losses(folder), strict=True):
        assert one[0] == two[0]
        assert [float(value) for value in one[1:]] == pytest.approx(
            [float(value) for value in two[1:]], rel=1e-4, nan_ok=True
        )
    best = checkpoints.load(folder / "best.safetensors")
    assert (
        best.training["audio_hours_seen"]
        == checkpoints.load(one_process / "best.safetensors").training["audio_hours_seen"]
    )


def test_only_the_first_process_prints(two_processes):
    _, output = two_processes
    steps = [line.split()[1] for line in output.splitlines()]
    assert steps == ["15/20", "20/20"]


def test_sigterm_saves_and_ends_all(tiny_set, settings, tmp_path):
    folder = tmp_path / "run"
    process = start(tiny_set, folder, *settings, "steps=1000000", "save_every=1000000", "validate_every=1000000")
    try:
        wait_until(lambda: (folder / "log.csv").exists() and len(losses(folder)) > 2, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert state(folder)["step"] > 0
    assert checkpoints.load(folder / "latest.safetensors").step == state(folder)["step"]


def test_a_process_that_dies_ends_the_other_with_a_line(tiny_set, settings, tmp_path):
    folder = tmp_path / "run"
    process = start(tiny_set, folder, *settings, "steps=1000000", "save_every=1", "validate_every=1000000")
    try:
        wait_until(lambda: (folder / "log.csv").exists() and len(losses(folder)) > 1, process)
        second = [pid for pid in children_of(process.pid) if b"RANK=1" in environment_of(pid)]
        assert len(second) == 1
        os.kill(second[0], signal.SIGKILL)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "process 0: has lost the other processes of this training" in error
    assert checkpoints.load(folder / "latest.safetensors").step > 0


def children_of(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def alone_in(monkeypatch, **environment: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_alone(monkeypatch):
    alone_in(monkeypatch)
    processes = Processes("cpu")
    assert (processes.rank, processes.count, processes.first) == (0, 1, True)
    assert processes.rows(7) == slice(0, 7)
    assert processes.any(True)
    assert not processes.any(False)
    assert processes.gather({0: 1.5, 1: 2.5}, 2) == [1.5, 2.5]
    gradient = torch.ones(3)
    assert processes.mean([gradient], torch.tensor(2.0)).item() == 2.0
    assert gradient.tolist() == [1, 1, 1]


@pytest.mark.parametrize("environment", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x"}, {"WORLD_SIZE": "-1"}])
def test_an_environment_that_is_not_torchruns(environment, monkeypatch):
    alone_in(monkeypatch, **environment)
    with pytest.raises(UserError, match="are not those of torchrun"):
        place()


def test_a_batch_that_cannot_be_shared_out():
    processes = object.__new__(Processes)
    processes.rank, processes.count = 1, 3
    assert processes.rows(6) == slice(2, 4)
    with pytest.raises(UserError, match="batch is 4, which 3 processes cannot share out evenly"):
        processes.rows(4)


def test_no_gpu(monkeypatch):
    alone_in(monkeypatch)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="device=cuda, but torch finds no usable GPU"):
        Processes("cuda")
    assert Processes("auto").device.type == "cpu"
