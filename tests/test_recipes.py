"""The recipes: the scripts parse, and sets are joined only where a held-out score stays held out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from recipe_runs import RECIPES, run_recipe

from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import write_description, write_piece

DOMAINS = {"ab": ["a", "b"]}


def make_set(folder: Path, scores: dict[str, str], loudness: int, rate: int = 16_000) -> Path:
    """A set of pieces of a few samples; scores: {name of the score: split}."""
    folder.mkdir()
    entries = {}
    for name, split in scores.items():
        samples = np.full(8000, loudness, np.int16)
        notes = {"a": [[0.0, 0.1, 60, 90]], "b": []}
        details = {"split": split, "score": f"corpus/{name}"}
        entries[name] = write_piece(folder, name, dict.fromkeys(["a", "b", "ab"], samples), rate, details, notes)
    write_description(folder, rate, DOMAINS, entries, {"command": folder.name})
    return folder


def join(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return run_recipe("join_sets", *arguments)


@pytest.mark.parametrize("script", sorted(RECIPES.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse_and_say_how_they_are_used(script):
    bash = shutil.which("bash")
    assert subprocess.run([bash, "-n", script], capture_output=True).returncode == 0
    found = subprocess.run([bash, script], capture_output=True, text=True)
    assert found.returncode != 0
    assert f"usage: {script.name} [--quick]" in found.stderr


def test_joined_sets_have_the_pieces_of_both(tmp_path):
    one = make_set(tmp_path / "one", {"x": "train", "y": "test"}, 16_000)
    two = make_set(tmp_path / "two", {"x": "train", "z": "validation"}, 8_000)
    assert join(tmp_path / "both", one, two).returncode == 0
    both = PreparedSet.open(tmp_path / "both")
    names = {split: [piece.name for piece in both.pieces(split)] for split in ("train", "validation", "test")}
    assert names == {"train": ["one-x", "two-x"], "validation": ["two-z"], "test": ["one-y"]}
    first, second = both.pieces("train")
    assert (first.audio("ab")[5], second.audio("ab")[5]) == (16_000, 8_000)
    assert first.notes()["a"].tolist() == [[0.0, 0.1, 60.0, 90.0]]
    levels = [PreparedSet.open(folder).levels["ab"] for folder in (one, two)]
    assert both.levels["ab"] == pytest.approx(sum(levels) / 2, abs=0.002)
    assert [made["set"] for made in both.made_by["joined"]] == ["one", "two"]


def test_what_is_not_joined(tmp_path):
    one = make_set(tmp_path / "one", {"x": "train", "y": "test"}, 1000)
    leaking = make_set(tmp_path / "leaking", {"y": "train"}, 1000)
    faster = make_set(tmp_path / "faster", {"z": "train"}, 1000, rate=8000)
    for other, message in (
        (leaking, "leaking: y is for train"),
        (faster, "faster: its sample_rate differ"),
        (one, "two of the sets have one name"),
        (tmp_path / "nowhere", "nowhere: no such folder"),
    ):
        found = join(tmp_path / "both", one, other)
        assert (found.returncode, len(found.stderr.splitlines())) == (2, 1)
        assert message in found.stderr
    assert not (tmp_path / "both").exists()
    assert join(one, leaking).returncode == 2  # nothing is written over
