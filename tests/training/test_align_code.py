"""recipes/align_code.py: a decoder goes on playing when its encoder is changed for another."""

from __future__ import annotations

import dataclasses
import subprocess

import numpy as np
import torch
from random_networks import random_weights
from recipe_runs import run_recipe

from musicstar_ext.architecture import DecoderConfig, EncoderConfig, SpectrumConfig
from musicstar_ext.checkpoints import load, save
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.methods.mixture_supervised import MixtureSupervised, MixtureSupervisedConfig
from musicstar_ext.nn import build_network, load_weights
from musicstar_ext.training.stages import untrained

from .conftest import DOMAINS, RATE


def code_of(seed: int, mixing: np.ndarray | None = None):
    """An untrained model of a set's direction; its encoder's code multiplied by a matrix."""
    torch.manual_seed(seed)
    config = MixtureSupervisedConfig(
        encoder=EncoderConfig(blocks=1, layers=3, channels=6, code_channels=4, pool=80),
        decoder=DecoderConfig(blocks=1, layers=2, residual_channels=6, skip_channels=5, condition_channels=4, pool=80),
        initialisation="variance-preserving",
    )
    model = MixtureSupervised(config, DOMAINS)
    model.initialise({"dark": np.ones(256, np.int64)})
    checkpoint = untrained(model, RATE)
    if mixing is not None:
        weights = checkpoint.weights["encoder"]
        weights["code.weight"] = np.einsum("ij,jck->ick", mixing, weights["code.weight"]).astype(np.float32)
        weights["code.bias"] = (mixing @ weights["code.bias"] + 0.3).astype(np.float32)
    return checkpoint


def logits_of(checkpoint, codes: torch.Tensor) -> torch.Tensor:
    encoder, decoder = (build_network(checkpoint.networks[name]) for name in ("encoder", "decoder"))
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        load_weights(network, checkpoint.weights[name])
    with torch.no_grad():
        return decoder(codes, encoder(codes))


def align(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_recipe("align_code", *arguments)


def test_a_decoder_understands_the_same_code_in_other_words(tiny_set, tmp_path):
    """The new encoder's code is the old one, mixed: the map is exact, and the decoder plays as before."""
    mixing = np.random.default_rng(0).normal(size=(4, 4)) + 2 * np.eye(4)
    old, new = code_of(1), code_of(1, mixing)
    save(old, tmp_path / "old.safetensors")
    save(new, tmp_path / "new.safetensors")
    found = align(tiny_set, tmp_path / "new.safetensors", tmp_path / "old.safetensors", tmp_path / "out.safetensors")
    assert found.returncode == 0, found.stderr
    assert "explains 100% of the old code's variance" in found.stdout
    joined = load(tmp_path / "out.safetensors")
    codes = torch.from_numpy(PreparedSet.open(tiny_set).pieces("test")[0].audio("bright")[:1600].copy())
    codes = ((codes.int() >> 8) + 128)[None]
    difference = (logits_of(joined, codes) - logits_of(old, codes)).abs().max()
    assert difference < 0.02 * logits_of(old, codes).std()
    mismatched = dict(joined.weights, decoder=old.weights["decoder"])
    assert (logits_of(dataclasses.replace(joined, weights=mismatched), codes) - logits_of(old, codes)).abs().max() > (
        10 * difference
    )


def test_what_tells_the_spectrum_goes_along(tiny_set, tmp_path):
    config = SpectrumConfig(code_channels=4, pool=80, kernel_size=3, hidden_channels=8, window=64)
    new = code_of(1, np.diag([9.0, 3.0, 20.0, 1.0]))
    new = dataclasses.replace(
        new,
        networks={**new.networks, "spectrum": config},
        weights={**new.weights, "spectrum": random_weights(config)},
    )
    save(new, tmp_path / "new.safetensors")
    save(code_of(1), tmp_path / "old.safetensors")
    found = align(tiny_set, tmp_path / "new.safetensors", tmp_path / "old.safetensors", tmp_path / "out.safetensors")
    assert found.returncode == 0, found.stderr
    joined = load(tmp_path / "out.safetensors")
    codes = torch.randint(0, 256, (1, 1600), generator=torch.Generator().manual_seed(0))
    told = []
    for checkpoint in (new, joined):
        networks = {name: build_network(checkpoint.networks[name]) for name in ("encoder", "spectrum")}
        for name, network in networks.items():
            load_weights(network, checkpoint.weights[name])
        with torch.no_grad():
            code = networks["encoder"](codes)
            told.append(networks["spectrum"](code)[:, 1:-1])  # not where half of what it hears is the silence outside
    assert not torch.allclose(*(torch.tensor(c.weights["encoder"]["code.weight"]) for c in (new, joined)))
    assert torch.allclose(*told, atol=1e-4)


def test_what_is_not_aligned(tiny_set, tmp_path):
    one = code_of(1)
    save(one, tmp_path / "one.safetensors")
    save(dataclasses.replace(one, domains={"source": "dark", "target": "bright"}), tmp_path / "back.safetensors")
    for paths, message in (
        (["one.safetensors", "back.safetensors"], "the checkpoints differ in direction"),
        (["one.safetensors", "none.safetensors"], "none.safetensors"),
    ):
        found = align(tiny_set, *(tmp_path / path for path in paths), tmp_path / "out.safetensors")
        assert (found.returncode, len(found.stderr.splitlines())) == (2, 1)
        assert message in found.stderr
        assert not (tmp_path / "out.safetensors").exists()
