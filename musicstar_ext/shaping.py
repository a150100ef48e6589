"""Spectral shaping: how far a translation is brought to the spectrum that its code tells (docs/shaping.md).

0 leaves what the decoder plays; 1 gives every frequency, at every time, the power that is expected there.
"""

from __future__ import annotations

import argparse
import numbers
from typing import Literal

from .errors import UserError

Shaping = float | Literal["auto"]  # auto: whole, where the model can tell the spectrum

NO_SPECTRUM = "this model cannot tell the spectrum that it is to play (training option spectrum_weight)"


def choose_shaping(shaping: Shaping, able: bool) -> float:
    """The number that was asked for; for "auto" 1 where a model is `able`, else 0.

    Raises:
        UserError: neither "auto" nor a number from 0 to 1; another one than 0 for a model that is not able.
    """
    if isinstance(shaping, str) and shaping == "auto":
        return 1.0 if able else 0.0
    is_number = isinstance(shaping, numbers.Real) and not isinstance(shaping, bool)
    if isinstance(shaping, str) or not is_number or not 0 <= shaping <= 1:
        raise UserError(f"shaping must be auto or a number from 0 to 1, not {shaping!r}")
    if shaping and not able:
        raise UserError(f"{NO_SPECTRUM}: shaping must be auto or 0, not {shaping!r}")
    return float(shaping)


def shaping_argument(text: str) -> Shaping:
    """A command's --shaping: its `type` for argparse."""
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be auto or a number, not {text!r}") from None
