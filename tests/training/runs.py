"""What a run has left: its log, its states."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def losses(folder: Path) -> list[tuple[str, str, str]]:
    """(step, loss, validation) of every row of the log."""
    with (folder / "log.csv").open(newline="") as file:
        return [(row["step"], row["loss"], row["validation"]) for row in csv.DictReader(file)]


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "latest.state.pt", weights_only=True)


def assert_same(a: Any, b: Any) -> None:
    """States are equal to the bit, but for how long they took."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds"}:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300) -> None:
    """Until something is so, which a process that runs brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)
