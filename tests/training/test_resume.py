"""Every method: a training that was ended and resumed is the uninterrupted one, to the bit."""

from __future__ import annotations

import pytest
from methods.small import SMALL

from musicstar_ext.methods import METHODS
from musicstar_ext.train import main

from .runs import assert_same, state

EVERYTHING = ("optimizer=muon", "ema=0.9", "clip_norm=1", "precision=bf16", "warmup_steps=3", "save_every=100")
"""All options that have state, or change what a step computes."""

TRAINED = [name for name, method in METHODS.items() if method.trained]


def test_every_method_is_tested():
    assert SMALL.keys() == METHODS.keys()


@pytest.mark.parametrize("method", TRAINED)
def test_resumed_equals_uninterrupted(method, tiny_set, tmp_path):
    if method == "demucs":
        pytest.importorskip("demucs", reason="this method needs demucs")

    def run(name: str, *settings: str, resume: bool = False) -> None:
        folder = tmp_path / name
        command = [method, "--data", str(tiny_set), "--run", str(folder), "--set", *settings]
        assert main(command + ["--resume"] * resume) == 0

    run("whole", *SMALL[method], *EVERYTHING, "steps=7")
    run("parts", *SMALL[method], *EVERYTHING, "steps=3")
    run("parts", "steps=7", resume=True)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole["step"] == 7
    for part in ("step", "model", "optimizer", "average"):
        assert_same(whole[part], parts[part])
