"""Classifier-free guidance: how closely a decoder follows its code (docs/guidance.md; Ho and Salimans 2022).

    logits = guidance * heard + (1 - guidance) * unheard

`heard`: the decoder with the code; `unheard`: with the same past, and zeros for a code. 1 is the plain decoder.
"""

from __future__ import annotations

import argparse
import numbers
from typing import Literal

from .errors import UserError

Guidance = float | Literal["auto"]  # auto: the model's own

MOST_GUIDANCE = 10.0
NO_GUIDANCE = "this model's decoders never learnt to play without a code (training option code_dropout)"


def checked_guidance(guidance: Guidance) -> float:
    """The number that it is.

    Raises:
        UserError: not a number from 0 to 10.
    """
    is_number = isinstance(guidance, numbers.Real) and not isinstance(guidance, bool)
    if isinstance(guidance, str) or not is_number or not 0 <= guidance <= MOST_GUIDANCE:
        raise UserError(f"guidance must be a number from 0 to {MOST_GUIDANCE:g}, not {guidance!r}")
    return float(guidance)


def choose_guidance(guidance: Guidance, of_model: float | None) -> float:
    """The number that was asked for, or for "auto" the model's own; 1 decodes plainly.

    Args:
        of_model: `Checkpoint.guidance`.

    Raises:
        UserError: neither "auto" nor a number from 0 to 10; another one than 1 for a model that has none.
    """
    if isinstance(guidance, str) and guidance == "auto":
        return 1.0 if of_model is None else of_model
    chosen = checked_guidance(guidance)
    if of_model is None and chosen != 1:
        raise UserError(f"{NO_GUIDANCE}: guidance must be auto or 1, not {guidance!r}")
    return chosen


def guidance_argument(text: str) -> Guidance:
    """A command's --guidance: its `type` for argparse."""
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be auto or a number, not {text!r}") from None
