"""The settings of one translation, checked in one place for Python and the command."""

from __future__ import annotations

import math
import numbers

from musicstar_ext.errors import UserError
from musicstar_ext.guidance import Guidance, choose_guidance
from musicstar_ext.shaping import Shaping, choose_shaping

from .lanes import Lanes, choose_lanes


def check_options(
    seed: int,
    temperature: float,
    lanes: Lanes,
    normalize: str,
    guidance: Guidance = "auto",
    shaping: Shaping = "auto",
) -> None:
    """Raises UserError for a setting out of range; the message says what the range is."""
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= seed < 1 << 64:
        raise UserError(f"seed must be a whole number from 0 to 2^64 - 1, not {seed!r}")
    if not isinstance(temperature, numbers.Real) or not 0 <= temperature < math.inf:
        raise UserError(f"temperature must be a number from 0 on, not {temperature!r}")
    choose_lanes(lanes, None, threads=1)
    if normalize not in ("auto", "off"):
        raise UserError(f"normalize must be auto or off, not {normalize!r}")
    choose_guidance(guidance, of_model=1.0)
    choose_shaping(shaping, able=True)
