"""Bringing audio to a model's level and back.

Levels are the gated levels of `runtime.level`, in dBFS; silence is -inf.
"""

from __future__ import annotations

import math

PEAK = 0.999  # of full scale: the loudest sample after `output_gain`


def input_gain(level: float, trained: float) -> float:
    """The factor that brings audio from `level` to `trained`; 1 for silence."""
    return 10 ** ((trained - level) / 20) if math.isfinite(level) else 1.0


def output_gain(level: float, wanted: float, peak: float) -> float:
    """The factor that brings audio from `level` to `wanted`, but no sample past full scale.

    Silence stays as it is where the output has no level, and becomes silence where the input (`wanted`) has none.
    """
    if not math.isfinite(wanted):
        return 0.0
    gain = 10 ** ((wanted - level) / 20) if math.isfinite(level) else 1.0
    return min(gain, PEAK / peak) if peak > 0 else gain
