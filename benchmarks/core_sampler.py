"""The core's sampler as a case to time, and its check against the equations."""

from __future__ import annotations

from typing import Protocol

import _musicstar_core as core
import numpy as np
from networks import sizes
from numpy.typing import NDArray
from report import check_same

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.checkpoints import Tensors

# Mean Kullback-Leibler divergence from fp32 that a precision may show, nats a sample.
DIVERGENCE = {"bf16": 1e-3, "int8": 1e-2}
TOLERANCE = 1e-3  # of fp32 logits, relative to the largest one


class CoreSampler:
    """`lanes` lanes under one condition frame [B, C]; a call draws n more samples in each."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: Tensors,
        condition: NDArray[np.float32],
        *,
        isa: str = "",
        precision: str = "fp32",
        threads: int = 1,
    ) -> None:
        self.pool = config.pool
        self.condition = condition
        self.sampler = core.Sampler(sizes(config), weights, len(condition), threads, isa, precision)

    def __call__(self, count: int) -> None:
        uniforms = np.random.default_rng(0).random((len(self.condition), count), dtype=np.float32)
        self.sampler.sample(frames_touched(self.condition, self.pool, self.sampler.position, count), uniforms)

    def score(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [T, A] of the first lane after a zero input, given codes [T] in every lane."""
        self.sampler.reset(0.0)
        lanes = np.repeat(codes[None], len(self.condition), axis=0)
        return self.sampler.score(frames_touched(self.condition, self.pool, 0, len(codes)), lanes)[0]


def frames_touched(condition: NDArray[np.float32], pool: int, position: int, count: int) -> NDArray[np.float32]:
    """[B, F, C]: the frame [B, C] for each that samples position to position + count - 1 touch."""
    touched = (position + count - 1) // pool - position // pool + 1
    return np.repeat(condition[:, None], touched, axis=1)


class Scorer(Protocol):
    """What can be checked."""

    def score(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [T, A] of the first lane after a zero input, given codes [T] in every lane."""


def check_core(
    sampler: Scorer, isa: str, precision: str, codes: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    """The sampler's first lane gives the expected logits [T, A]: closely in fp32, else in distribution.

    Raises:
        UserError: it does not.
    """
    found = sampler.score(codes)
    if precision == "fp32":
        largest = float(np.abs(expected).max())
        check_same(f"core {isa} fp32", float(np.abs(found - expected).max()) / largest, TOLERANCE)
    else:
        check_same(f"core {isa} {precision}", divergence(expected, found), DIVERGENCE[precision])


def divergence(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Mean over rows of KL(softmax(expected) || softmax(found)), in nats; logits [T, A]."""
    p, q = log_softmax(expected), log_softmax(found)
    return float((np.exp(p) * (p - q)).sum(1).mean())


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """[T, A] -> [T, A]: ln of each row's probabilities."""
    x = logits.astype(np.float64)
    x -= x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))
