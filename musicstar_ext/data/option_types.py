"""What options may be: each turns an argument's text into its value, or says in a line what it must be."""

from __future__ import annotations

import argparse
import math

from .prepared import SPLITS


def positive(text: str) -> int:
    """A whole number from 1 to a million."""
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text}")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0 to 2^63 - 1."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, not {text}")
    return int(text)


def shares(text: str) -> dict[str, float]:
    """Three shares of the pieces, `TRAIN,VALIDATION,TEST`, as {split: share}."""
    parts = [number(part) for part in text.split(",")]
    if len(parts) != len(SPLITS) or min(parts) < 0 or not 0.999 < sum(parts) < 1.001:
        raise argparse.ArgumentTypeError(f"must be three shares that sum to 1, such as 0.8,0.15,0.05, not {text}")
    return dict(zip(SPLITS, parts, strict=True))


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}")
    return value
