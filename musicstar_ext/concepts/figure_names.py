"""Names in a figure of a tree: leaves outwards along their rays, inner concepts level, where they cover least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INK = "#1d1f24"
LONGEST = 28  # characters
FONT = 7.0  # points, of leaves; less where there are many, a point more for inner concepts
ASPECT = 0.58  # of a character, width to height, about
GAP = 4.0  # points between a concept and its name


def write_names(
    axes: Any,
    names: Sequence[str],
    points: NDArray[np.float64],
    which: NDArray[np.int64],
    angles: NDArray[np.float64],
    is_leaf: NDArray[np.bool_],
) -> None:
    """Write the names of concepts `which`; the axes' limits and layout must be settled.

    Args:
        names: of `which`.
        points: [all concepts, 2], where they stand, in the axes' coordinates.
        angles: of `which`, from the root.
        is_leaf: of `which`.
    """
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.8, foreground="white")]
    size = FONT if len(names) <= 150 else FONT - 1.5
    places = axes.transData.transform(points) * 72 / axes.figure.dpi  # in points, as fonts are
    taken = [places]
    texts = [_plain(name) for name in names]
    for text, concept, angle, leaf in zip(texts, which, angles, is_leaf, strict=True):
        width = len(text) * size * ASPECT
        ray = np.array([math.cos(angle), math.sin(angle)])
        if leaf:
            taken.append(places[concept] + np.linspace(GAP, GAP + width, 8)[:, np.newaxis] * ray)
    for text, concept, angle, leaf in zip(texts, which, angles, is_leaf, strict=True):
        style: dict[str, Any] = {"textcoords": "offset points", "color": INK, "path_effects": halo, "zorder": 4}
        if leaf:
            left = math.cos(angle) < 0
            axes.annotate(
                text,
                points[concept],
                (GAP * math.cos(angle), GAP * math.sin(angle)),
                rotation=math.degrees(angle) + (180 if left else 0),
                rotation_mode="anchor",
                ha="right" if left else "left",
                va="center",
                fontsize=size,
                **style,
            )
            continue
        offset = _free_place(places[concept], len(text) * (size + 1) * ASPECT, size + 1, np.concatenate(taken))
        centre = places[concept] + offset
        half = len(text) * (size + 1) * ASPECT / 2
        taken.append(centre + np.stack([np.linspace(-half, half, 8), np.zeros(8)], axis=1))
        axes.annotate(text, points[concept], offset, ha="center", va="center", fontsize=size + 1, **style)


def _free_place(
    place: NDArray[np.float64], width: float, height: float, taken: NDArray[np.float64]
) -> tuple[float, float]:
    """The offset of a name's centre from its concept at which its box covers least of what is there."""
    up, aside = height / 2 + GAP, width / 2 + GAP + 2
    best, least = (0.0, up), math.inf
    for offset in ((0.0, up), (0.0, -up), (aside, 0.0), (-aside, 0.0), (aside, up), (-aside, up)):
        away = np.abs(taken - place - np.array(offset))
        covered = int(((away[:, 0] < width / 2 + 1) & (away[:, 1] < height / 2 + 1)).sum())
        if covered < least:
            best, least = offset, covered
    return best


def _plain(name: str) -> str:
    """Not too long; a "$" would begin a formula."""
    return (name if len(name) <= LONGEST else name[: LONGEST - 1] + "…").replace("$", r"\$")
