"""How loud music is where it plays: the one definition of level (data, checkpoints and translation share it)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BLOCK = 800  # samples: 50 ms at 16 kHz
GATE = -60.0  # dBFS: quieter blocks are pauses and do not count


class LevelMeter:
    """Gated level of a stream: the mean square over 50 ms blocks louder than -60 dBFS, in dB."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._sum = 0.0
        self._blocks = 0.0

    def update(self, block: NDArray[np.floating]) -> None:
        """Take [n] more samples, full scale at 1."""
        samples = np.concatenate([self._rest, np.asarray(block, np.float32)])
        whole = len(samples) - len(samples) % BLOCK
        self._rest = samples[whole:].copy()
        if whole:
            squares = np.square(samples[:whole].reshape(-1, BLOCK), dtype=np.float64).mean(axis=1)
            loud = squares[squares > 10 ** (GATE / 10)]
            self._sum += float(loud.sum())
            self._blocks += len(loud)

    @property
    def dbfs(self) -> float:
        """Level so far; -inf where nothing was louder than the gate. A last partial block counts by its length."""
        total, blocks = self._sum, self._blocks
        if len(self._rest):
            square = float(np.square(self._rest, dtype=np.float64).mean())
            if square > 10 ** (GATE / 10):
                share = len(self._rest) / BLOCK
                total, blocks = total + square * share, blocks + share
        return 10 * math.log10(total / blocks) if blocks else -math.inf


def gated_level_dbfs(samples: NDArray[np.floating]) -> float:
    """The gated level of [N] samples; -inf for silence."""
    meter = LevelMeter()
    meter.update(samples)
    return meter.dbfs
