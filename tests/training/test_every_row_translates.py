"""Every row of Table 1: trained by one command, translated by one command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from methods.small import SMALL

from musicstar_ext import train, translate

PLAYED = {  # what a recording, or stems of one, become; the set's domains and stems are in this folder's conftest.py
    "universal-network": [("lead", "bass"), ("descant", "tenor")],
    "single-instrument": [("lead", "bass"), ("descant", "tenor")],
    "separation-based": [("lead", "bass"), ("descant", "tenor")],
    "embedding-supervised": [("bright", "bass"), ("bright", "tenor")],
    "stem-supervised": [("bright", "bass"), ("bright", "tenor")],
    "mixture-supervised": [("bright", "dark")],
}
HEARS_STEMS_ONLY = ("universal-network", "single-instrument")


@pytest.mark.parametrize("method", PLAYED)
def test_a_trained_model_translates(method: str, tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    if method == "separation-based":
        pytest.importorskip("demucs")
    run = tmp_path / "run"
    settings = [word for setting in SMALL[method] for word in ("--set", setting)]
    assert train.main([method, "--data", str(tiny_set), "--run", str(run), *settings]) == 0
    capsys.readouterr()
    tone = 0.1 * np.sin(np.arange(4000) / 4)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, tone, 16_000)
    inputs = [str(tmp_path / "a.wav")]
    if method in HEARS_STEMS_ONLY:
        inputs += [str(tmp_path / "b.wav"), "--stems", "descant,lead"]
    target = tmp_path / "out.wav"
    arguments = [*inputs, "-o", str(target), "--model", str(run / "best.safetensors"), "--json", "--threads", "1"]
    assert translate.main(arguments) == 0
    branches = json.loads(capsys.readouterr().out)["branches"]
    assert [(branch["source"], branch["target"]) for branch in branches] == PLAYED[method]
    heard, _ = soundfile.read(target)
    assert len(heard) == 4000
    assert heard.any()
