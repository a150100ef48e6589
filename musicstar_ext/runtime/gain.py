"""Bringing audio to a model's level and back.

Levels are the gated levels of `runtime.level`, in dBFS; silence is -inf.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from .samples import Audio, summed

PEAK = 0.999  # of full scale: the loudest sample of an output


def input_gain(level: float, trained: float) -> float:
    """The factor that brings audio from `level` to `trained`; 1 for silence."""
    return 10 ** ((trained - level) / 20) if math.isfinite(level) else 1.0


def output_gain(level: float, wanted: float) -> float:
    """The factor that brings audio from `level` to `wanted`.

    Silence stays as it is where the output has no level, and becomes silence where the input (`wanted`) has none.
    """
    if not math.isfinite(wanted):
        return 0.0
    return 10 ** ((wanted - level) / 20) if math.isfinite(level) else 1.0


def mix(signals: Mapping[str, Audio], gains: Mapping[str, float]) -> Audio:
    """The sum of one or more [n] signals, each times its gain."""
    return summed([signal * np.float32(gains[name]) for name, signal in signals.items()])


def limited_gains(gains: Mapping[str, float], blocks: Iterable[Mapping[str, Audio]]) -> dict[str, float]:
    """The same gains, all lowered alike where otherwise a sample of the mix of `blocks` would pass full scale."""
    loudest = max(gains.values(), default=0.0)
    if loudest == 0:
        return dict(gains)
    balance = {name: gain / loudest for name, gain in gains.items()}
    peak = max((float(np.abs(mix(block, balance)).max(initial=0.0)) for block in blocks), default=0.0)
    limited = min(loudest, PEAK / peak) if peak > 0 else loudest
    return {name: share * limited for name, share in balance.items()}
