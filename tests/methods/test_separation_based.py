import json
from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import random_weights
from toy_mixtures import DOMAINS, write_toy_set

from musicstar_ext import checkpoints
from musicstar_ext.architecture import DecoderConfig, EncoderConfig, SeparatorConfig
from musicstar_ext.checkpoints import Branch, Checkpoint
from musicstar_ext.errors import UserError
from musicstar_ext.methods.separation_based import SeparationBased, SeparationBasedConfig
from musicstar_ext.nn import to_checkpoint_weights
from musicstar_ext.train import main

RATE = 16_000
ENCODER = EncoderConfig(kind="universal", blocks=1, layers=2, channels=6, code_channels=3, pool=160)
DECODER = DecoderConfig(blocks=1, layers=2, residual_channels=6, skip_channels=5, condition_channels=3, pool=160)
SEPARATOR = SeparatorConfig(
    channels=4, depth=2, lstm_layers=1, sources=("low", "high"), audio_channels=1, sample_rate=22_050
)


def single(**changes: object) -> Checkpoint:
    networks = {"encoder": ENCODER, "decoder.deep": DECODER, "decoder.shrill": DECODER, "decoder.spare": DECODER}
    branches = (Branch("low", "deep", "encoder", "decoder.deep"), Branch("high", "shrill", "encoder", "decoder.shrill"))
    values = {
        "method": "single-instrument",
        "networks": networks,
        "weights": {name: random_weights(config, seed) for seed, (name, config) in enumerate(networks.items())},
        "domains": {"source": "low-high", "target": "deep-shrill"},
        "branches": branches,
        "levels": {
            "low-high": -17.0,
            "low": -20.0,
            "high": -21.0,
            "deep": -22.0,
            "shrill": -23.0,
            "deep-shrill": -18.0,
        },
        "sample_rate": RATE,
        "step": 11,
    }
    return Checkpoint(**{**values, **changes})


def separator(**changes: object) -> Checkpoint:
    config = changes.pop("config", SEPARATOR)
    values = {
        "method": "demucs",
        "networks": {"separator": config},
        "weights": {"separator": random_weights(config)},
        "domains": {"source": "low-high"},
        "branches": (),
        "levels": {"low-high": -16.5},
        "sample_rate": 22_050,
        "step": 12,
    }
    return Checkpoint(**{**values, **changes})


def saved(folder: Path, of_separator: Checkpoint | None = None, of_single: Checkpoint | None = None) -> dict[str, str]:
    """The settings that name both checkpoints, written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {key: folder / f"{key}.safetensors" for key in ("separator", "single")}
    checkpoints.save(of_separator or separator(), paths["separator"])
    checkpoints.save(of_single or single(), paths["single"])
    return {key: str(path) for key, path in paths.items()}


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"), seconds=0.5, rate=RATE)


def test_the_command_puts_both_together_without_training(toy_set, tmp_path):
    paths = saved(tmp_path / "in")
    settings = [f"{key}={path}" for key, path in paths.items()]
    run = tmp_path / "run"
    assert main(["separation-based", "--data", str(toy_set), "--run", str(run), "--set", *settings]) == 0
    whole = checkpoints.load(run / "best.safetensors")
    assert (run / "latest.safetensors").exists()
    assert (whole.method, whole.sample_rate, whole.step) == ("separation-based", RATE, 0)
    assert whole.domains == {"source": "low-high", "target": "deep-shrill"}
    assert whole.branches == single().branches
    assert whole.networks.keys() == {"separator", "encoder", "decoder.deep", "decoder.shrill"}  # not the spare one
    for name, weights in whole.weights.items():
        theirs = {**single().weights, **separator().weights}[name]
        assert all(np.array_equal(weights[key], theirs[key]) for key in weights), name
    assert whole.levels == {**single().levels, "low-high": -16.5}
    assert {key: part["step"] for key, part in whole.training.items()} == {"separator": 12, "single": 11}
    assert str(tmp_path) not in json.dumps(whole.training)  # no one's folders


def test_networks_are_the_checkpoints_modules(tmp_path):
    model = SeparationBased(SeparationBasedConfig(**saved(tmp_path)), DOMAINS)
    networks = model.networks()
    assert {name: network.config for name, network in networks.items()} == model.assembled().networks
    for name, weights in model.assembled().weights.items():
        found = to_checkpoint_weights(networks[name])
        assert all(np.array_equal(found[key], weights[key]) for key in weights)


def test_nothing_to_train(tmp_path):
    model = SeparationBased(SeparationBasedConfig(**saved(tmp_path)), DOMAINS)
    assert (model.trained, model.tracks, list(model.parameters())) == (False, (), [])
    with pytest.raises(UserError, match="nothing of its own to train"):
        model.loss({"low": torch.zeros(1)})


def test_the_order_of_the_separators_stems_is_its_own(tmp_path):
    swapped = separator(config=SeparatorConfig(**{**SEPARATOR.__dict__, "sources": ("high", "low")}))
    model = SeparationBased(SeparationBasedConfig(**saved(tmp_path, swapped)), DOMAINS)
    assert [branch.source for branch in model.branches()] == ["low", "high"]


@pytest.mark.parametrize(
    ("of_separator", "of_single", "problem"),
    [
        ({"method": "single-instrument"}, {}, "separator must be a checkpoint of demucs"),
        ({}, {"method": "universal-network"}, "single must be a checkpoint of single-instrument"),
        ({"domains": {"source": "deep-shrill"}}, {}, "separates deep-shrill into low, high, not low-high"),
        (
            {"config": SeparatorConfig(**{**SEPARATOR.__dict__, "sources": ("low", "middle")})},
            {},
            "separates low-high into low, middle, not low-high into low, high",
        ),
        (
            {"networks": {"encoder": ENCODER}, "weights": {"encoder": random_weights(ENCODER)}},
            {},
            "has no separator",
        ),
        ({}, {"branches": single().branches[:1]}, "does not translate high to shrill"),
        ({}, {"sample_rate": 8000}, "is for 8000 Hz, the set has 16000 Hz"),
    ],
)
def test_checkpoints_that_do_not_belong_together(toy_set, tmp_path, capsys, of_separator, of_single, problem):
    paths = saved(tmp_path / "in", separator(**of_separator), single(**of_single))
    settings = [f"{key}={path}" for key, path in paths.items()]
    run = tmp_path / "run"
    assert main(["separation-based", "--data", str(toy_set), "--run", str(run), "--set", *settings]) == 2
    assert problem in capsys.readouterr().err
    assert not run.exists()
