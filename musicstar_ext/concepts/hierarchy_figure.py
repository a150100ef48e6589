"""A static figure of one tree, for papers: radial, the root in the middle, colours by known cluster."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

from .cluster_colours import UNKNOWN, colours
from .figure_names import ASPECT, FONT, INK, LONGEST, write_names
from .hierarchy_page import cluster_order
from .trees import ROOT, Tree

FORMATS = (".png", ".pdf", ".svg")
NAMED = 400  # concepts up to which all are named; beyond, the widest branches are
FEW = 60  # of them
LEGEND = 24  # clusters named beside the tree
LINE = "#a3a5ad"


def check_format(path: Path) -> None:
    """Raises UserError where the name does not end as one of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: the name of a figure must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def write_figure(path: Path, names: tuple[str, ...], tree: Tree, clusters: Mapping[str, str], title: str) -> None:
    """Draw the tree.

    Raises:
        UserError: the name's ending is none of a figure, or the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    check_format(path)
    extra_module("matplotlib", "concepts")
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    turns, leaves = radial_turns(tree)
    radii = rings(tree).astype(np.float64)
    angles = 2 * np.pi * turns
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    order, cluster = cluster_order(names, clusters)
    palette = [colour.light for colour in colours(len(order))]
    shade = [palette[number] if number >= 0 else UNKNOWN.light for number in cluster]
    side = min(20.0, max(6.0, 3.2 + leaves * 0.135 / math.pi, 4 + 0.55 * math.sqrt(len(tree))))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    lines = [_edge(tree, child, radii, angles) for child in range(len(tree))]
    at_root = [int(parent) == ROOT for parent in tree.parents]
    axes.add_collection(
        LineCollection(
            lines,
            colors=[LINE + "66" if top else LINE for top in at_root],
            linewidths=0.9 if len(tree) < 600 else 0.4,
            zorder=1,
        )
    )
    below = descendants(tree)
    sizes = (12 if len(tree) < 200 else 6 if len(tree) < 800 else 1.5) * (1 + 0.8 * np.sqrt(below))
    axes.scatter(points[:, 0], points[:, 1], s=sizes, c=shade, linewidths=0, zorder=2)
    low, high = points.min(axis=0), points.max(axis=0)
    # Room for the longest name beyond the outermost concept, in inches.
    longest = max(map(len, names)) if len(tree) <= NAMED else 12
    room = 0.15 + min(LONGEST, longest) * FONT * ASPECT / 72
    margin = max(0.5, float((high - low).max()) * room / (side - 1 - 2 * room))
    axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin), aspect="equal")
    axes.axis("off")
    axes.set_title(title, fontsize=9, color=INK, wrap=True)
    if order:
        handles = [
            Line2D([], [], marker="o", linestyle="", color=colour, label=name)
            for name, colour in zip(order[:LEGEND], palette, strict=False)
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False, fontsize=8
        )
    figure.draw_without_rendering()  # settles the layout, so that names know where there is room
    named = np.argsort(-below, kind="stable")[: NAMED if len(tree) <= NAMED else FEW]
    write_names(axes, [names[concept] for concept in named], points, named, angles[named], below[named] == 0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=200, metadata=_undated(path))
    write_atomically(path, buffer.getvalue())


def rings(tree: Tree) -> NDArray[np.int64]:
    """How many rings out each concept is: [concepts]. A single concept at the top stands in the middle itself."""
    return tree.depths - (1 if len(tree.children[ROOT]) == 1 else 0)


def radial_turns(tree: Tree) -> tuple[NDArray[np.float64], int]:
    """Where each concept stands on its ring, [concepts] in turns, and how many leaves there are.

    Leaves share the circle by 1 / ring: neighbours have the same room on every ring.
    """
    turns = np.zeros(len(tree))
    leaves: list[int] = []
    left = list(reversed(tree.children[ROOT]))
    while left:
        concept = left.pop()
        left.extend(reversed(tree.children[concept]))
        if not tree.children[concept]:
            leaves.append(concept)
    weights = 1 / np.maximum(1, rings(tree)[leaves])
    turns[leaves] = (np.cumsum(weights) - weights / 2) / weights.sum()
    for concept in reversed(tree.order):
        children = tree.children[concept]
        if children:
            turns[concept] = (turns[children[0]] + turns[children[-1]]) / 2
    return turns, len(leaves)


def descendants(tree: Tree) -> NDArray[np.int64]:
    """How many concepts are below each: [concepts]."""
    below = np.zeros(len(tree), np.int64)
    for concept in reversed(tree.order):
        parent = tree.parents[concept]
        if parent != ROOT:
            below[parent] += 1 + below[concept]
    return below


def _edge(tree: Tree, child: int, radii: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points from the parent to the child: the angle changes first, the radius evenly."""
    parent = int(tree.parents[child])
    middle = parent == ROOT or radii[parent] == 0  # which has no angle
    start = (0.0, angles[child]) if middle else (radii[parent], angles[parent])
    share = np.linspace(0, 1, 2 if parent == ROOT else 12)
    smooth = share * share * (3 - 2 * share)
    radius = start[0] + share * (radii[child] - start[0])
    angle = start[1] + smooth * (angles[child] - start[1])
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _undated(path: Path) -> dict[str, None]:
    """Equal trees give equal files: no date in them."""
    return {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix.lower(), {})
