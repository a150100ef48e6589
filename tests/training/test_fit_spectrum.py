"""recipes/fit_spectrum.py: a checkpoint learns to tell the spectrum of what it plays."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest
from recipe_runs import run_recipe

from musicstar_ext import Translator, checkpoints
from musicstar_ext.checkpoints import Branch
from musicstar_ext.runtime.engine import choose_engine

from .test_align_code import code_of


def fit(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_recipe("fit_spectrum", "--held-out", 4, *arguments)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoints.save(dataclasses.replace(code_of(1), levels={"bright": -20.0, "dark": -20.0}), path)
    return path


def test_it_learns_and_the_rest_stays_as_it_was(tiny_set, model, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    found = fit(tiny_set, model, first, "--hours", 0.01, "--steps", 60)
    assert found.returncode == 0, found.stderr
    before, fitted = checkpoints.load(model), checkpoints.load(first)
    assert set(fitted.networks) == {"encoder", "decoder", "spectrum"}
    for name in before.networks:
        for tensor, values in before.weights[name].items():
            assert np.array_equal(fitted.weights[name][tensor], values)
    now, start = (float(part.split()[0]) for part in found.stdout.rpartition("distance ")[2].split("nats, "))
    assert now < start
    assert fit(tiny_set, model, second, "--hours", 0.01, "--steps", 60).returncode == 0
    for tensor, values in checkpoints.load(second).weights["spectrum"].items():
        assert np.array_equal(fitted.weights["spectrum"][tensor], values)

    further = fit(tiny_set, first, second, "--hours", 0.01, "--steps", 1)  # from where the first ended
    assert further.returncode == 0, further.stderr
    assert float(further.stdout.rpartition(", ")[2].split()[0]) == pytest.approx(now, abs=2e-3)
    audio = 0.1 * np.random.default_rng(0).standard_normal(3000)
    assert len(Translator(fitted, choose_engine("cpu")).translate(audio, 16_000)) == 3000


def test_a_network_moves_to_a_checkpoint_with_the_same_encoder(tiny_set, model, tmp_path):
    told, other, out = (tmp_path / f"{name}.safetensors" for name in ("told", "other", "out"))
    assert fit(tiny_set, model, told, "--hours", 0.01, "--steps", 1).returncode == 0
    found = fit(tiny_set, model, out, "--hours", 0.01, "--steps", 0, "--start", told)
    assert found.returncode == 0, found.stderr
    for tensor, values in checkpoints.load(told).weights["spectrum"].items():
        assert np.array_equal(checkpoints.load(out).weights["spectrum"][tensor], values)
    checkpoints.save(code_of(2), other)
    for start, message in ((model, "has no network 'spectrum'"), (told, "told.safetensors: has another encoder")):
        found = fit(tiny_set, other, tmp_path / "none.safetensors", "--start", start)
        assert (found.returncode, len(found.stderr.splitlines())) == (2, 1), found.stderr
        assert message in found.stderr


def test_what_is_refused(tiny_set, model, tmp_path):
    out = tmp_path / "out.safetensors"
    two = checkpoints.load(model)
    two = dataclasses.replace(two, branches=(*two.branches, Branch("dark", "bright", "encoder", "decoder")))
    checkpoints.save(two, tmp_path / "two.safetensors")
    for arguments, message in (
        ((tiny_set, tmp_path / "two.safetensors", out), "two.safetensors: it has 2 branches, not one"),
        ((tiny_set, tmp_path / "none.safetensors", out), "none.safetensors"),
        ((tiny_set, model, out, "--hours", 0), "--hours must be above 0"),
        ((tiny_set, model, out, "--held-out", 0), "--held-out at least 1"),
        ((tiny_set, model, out, "--steps", 0), "model.safetensors: has no network 'spectrum'"),
        ((tmp_path / "nowhere", model, out), "nowhere"),
    ):
        found = fit(*arguments)
        assert (found.returncode, len(found.stderr.splitlines())) == (2, 1), found.stderr
        assert message in found.stderr
        assert not out.exists()
