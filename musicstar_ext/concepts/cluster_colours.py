"""A colour a cluster, on light and on dark ground."""

from __future__ import annotations

import colorsys
from typing import NamedTuple


class Colour(NamedTuple):
    """`light` is for light ground, and dark enough to be told from it (3 : 1 and more); `dark` is for dark ground."""

    light: str
    dark: str


# Neighbours in the list differ in hue and in lightness, so that many can be told apart without colour vision, too.
CHOSEN = (
    Colour("#3b46b8", "#8f9bff"),
    Colour("#d1580a", "#ff9d57"),
    Colour("#0f8a5f", "#4fd6a0"),
    Colour("#b0227a", "#ff86c8"),
    Colour("#7a5a00", "#e2c04a"),
    Colour("#0b84ad", "#5ecdf5"),
    Colour("#c4281c", "#ff8a7a"),
    Colour("#6b3fa0", "#c79bff"),
    Colour("#4d7c0f", "#a6d65a"),
    Colour("#7c3a2d", "#d9a08f"),
    Colour("#2b6f77", "#86d0d4"),
    Colour("#5a6478", "#b3bed2"),
)
UNKNOWN = Colour("#777b86", "#8b90a0")
SATURATION = 0.66
LIGHTEST = 0.25  # luminance on light ground: 3 : 1 against it
GOLDEN = 0.618033988749895  # of the circle: hues drawn by it stay apart however many there are


def colours(count: int) -> list[Colour]:
    """One for each of `count` clusters: chosen ones, then hues spread around the circle."""
    spread = [_spread(n) for n in range(max(0, count - len(CHOSEN)))]
    return [*CHOSEN, *spread][:count]


def _spread(n: int) -> Colour:
    hue = (0.08 + n * GOLDEN) % 1
    light = _hex(hue, (0.34, 0.42)[n % 2])
    while _luminance(light) > LIGHTEST:  # yellow and green look lighter than blue
        light = "#" + "".join(f"{round(0.9 * part):02x}" for part in bytes.fromhex(light[1:]))
    return Colour(light, _hex(hue, 0.72))


def _hex(hue: float, lightness: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, SATURATION))


def _luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2, of "#rrggbb"."""
    parts = [part / 255 for part in bytes.fromhex(colour[1:])]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
