"""Every benchmark still runs: its own check passes, --quick --json prints whole rows. Nothing here looks at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEYS = {
    *("question", "case", "device", "isa", "precision", "lanes", "threads", "samples_per_second", "spread"),
    *("baseline", "ratio", "bound", "share_of_bound", "processor", "system", "python", "version", "commit"),
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / arguments[0]), *arguments[1:]]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["sampling", "encoder", "translate", "crops", "training"])
def test_quick_rows(name, tmp_path):
    saved = tmp_path / "rows.json"
    result = run(f"{name}.py", "--quick", "--json", "--save", str(saved))
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows
    assert json.loads(saved.read_text()) == rows
    for row in rows:
        assert row.keys() >= KEYS
        assert row["question"] == name
        assert row["samples_per_second"] > 0
        assert row["baseline"] > 0
        assert row["bound"] > 0


def test_loss_curves_lie_on_each_other(tmp_path):
    saved, plot = tmp_path / "curves.json", tmp_path / "curves.png"
    result = run("loss_curves.py", "--quick", "--json", "--save", str(saved), "--plot", str(plot))
    assert result.returncode == 0, result.stderr
    row = json.loads(result.stdout)
    assert json.loads(saved.read_text()) == [row]
    assert {len(losses) for losses in row["losses"].values()} == {row["steps"]}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_sweep_draws(tmp_path):
    plot = tmp_path / "growth.png"
    result = run("sampling.py", "--quick", "--json", "--sweep", "--plot", str(plot))
    assert result.returncode == 0, result.stderr
    varied = {json.loads(line)["varied"] for line in result.stdout.splitlines()}
    assert varied == {"lanes", "channels", "layers", "threads"}
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["growth.png"]


def test_the_page_shows_the_results():
    result = run("tables.py", "--check")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sampling.py", "--lanes", "0"), "'0' is not a list of whole numbers"),
        (("translate.py", "--precision", "fp7"), "fp7"),
        (("translate.py", "--cases", "full"), "'full' is not a model and up to 600 minutes"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
