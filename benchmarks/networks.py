"""The networks that benchmarks run: a model's, or the paper's sizes with random weights."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicstar_ext import checkpoints, models
from musicstar_ext.architecture import DecoderConfig, EncoderConfig, EncoderKind, NetworkConfig
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.errors import UserError

TINY_DECODER = DecoderConfig(
    blocks=1, layers=4, residual_channels=16, skip_channels=16, condition_channels=8, classes=256, pool=80
)


def tiny_encoder(kind: EncoderKind) -> EncoderConfig:
    return EncoderConfig(kind=kind, blocks=1, layers=4, channels=16, code_channels=8, pool=80)


def full_encoder(kind: EncoderKind) -> EncoderConfig:
    """The paper's: Fig. 4b has 4 blocks of 14 layers, Fig. 4a 3 blocks of 10."""
    return EncoderConfig() if kind == "music-star" else EncoderConfig(kind=kind, blocks=3, layers=10)


def sizes(config: NetworkConfig) -> dict[str, int | str]:
    """A config as the core takes it."""
    return dataclasses.asdict(config)


def random_weights(config: NetworkConfig) -> Tensors:
    """Weights whose activations stay of order 1 to 10 through the depth of the network."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in config.tensor_shapes().items():
        scale = 0.05 if name.endswith("bias") else np.prod(shape[1:]) ** -0.5
        weights[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
    return weights


def decoder_of(model: str | None, quick: bool) -> tuple[DecoderConfig, Tensors]:
    """The decoder of a model (a shipped name or a path); without one the paper's size, or for --quick a tiny one."""
    if model is None:
        config = TINY_DECODER if quick else DecoderConfig()
        return config, random_weights(config)
    checkpoint = checkpoints.load(models.find(model))
    found = checkpoint.networks.get("decoder")
    if not isinstance(found, DecoderConfig):
        raise UserError(f"{model}: holds no decoder")
    if found.kernel_size != 2:
        raise UserError(f"{model}: its decoder has kernel size {found.kernel_size}; the baselines are written for 2")
    return found, checkpoint.weights["decoder"]
