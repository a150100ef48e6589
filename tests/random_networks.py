"""Configs and random weights that the core's tests share."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicstar_ext.architecture import DecoderConfig, EncoderConfig, NetworkConfig

# The documented fp32 tolerance of the fast paths against the double-precision reference, absolute, for values of order
# 1: about 40 layers of 128-term sums, each good to 1e-6 or so.
FP32_TOLERANCE = 2e-4

SMALL_ENCODER = EncoderConfig(blocks=2, layers=5, channels=20, code_channels=7, pool=13)
SMALL_DECODER = DecoderConfig(
    blocks=2, layers=4, residual_channels=20, skip_channels=33, condition_channels=5, classes=100, pool=37
)


def sizes(config: NetworkConfig) -> dict[str, int | str]:
    return dataclasses.asdict(config)


def random_weights(config: NetworkConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights whose activations stay of order 1 through the depth of the network."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in config.tensor_shapes().items():
        scale = 0.05 if name.endswith("bias") else 1.0 / np.sqrt(np.prod(shape[1:]))
        weights[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
    return weights


def random_codes(count: int, seed: int = 1, classes: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, count).astype(np.uint8)


def random_condition(config: DecoderConfig, samples: int, seed: int = 2) -> np.ndarray:
    frames = -(-samples // config.pool)
    return np.random.default_rng(seed).standard_normal((frames, config.condition_channels)).astype(np.float32)
