"""What a probe found, as Markdown, CSV, JSON and one figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from musicstar_ext.extras import extra_module

from .listing import markdown, without_nan
from .probe import Reading

COLUMNS = ("model", "network", "layer", "task", "probe", "chance", "pieces", "font", "shuffled")


def to_markdown(found: Mapping[str, Sequence[Reading]]) -> str:
    """One table a model: what is read from which layer, by the linear and the small network's probe."""
    parts = []
    for model, readings in found.items():
        rows = []
        by_place = {(one.extractor, one.layer, one.task, one.probe): one for one in readings}
        for one in readings:
            if one.probe != "linear":
                continue
            network = by_place.get((one.extractor, one.layer, one.task, "network"))
            rows.append(
                [
                    one.task,
                    f"{one.extractor}, {one.layer}" if one.extractor != one.layer else one.layer,
                    f"{one.chance:.2f}",
                    _with_interval(one.pieces, one.pieces_interval),
                    _with_interval(one.font, one.font_interval),
                    f"{network.pieces:.2f}" if network else "",
                    f"{network.font:.2f}" if network else "",
                    f"{one.shuffled:.2f}",
                ]
            )
        rows.sort(key=lambda row: [one.task for one in readings].index(row[0]))
        header = (
            "what",
            "layer",
            "chance",
            "linear, held-out pieces",
            "linear, held-out font",
            "network, pieces",
            "network, font",
            "shuffled",
        )
        parts.append(f"## {model}\n\nBalanced accuracy; 95 % intervals over clips.\n\n{markdown(header, rows)}\n")
    return "\n".join(parts)


def to_csv(found: Mapping[str, Sequence[Reading]]) -> str:
    """One line a reading."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "pieces_low", "pieces_high", "font_low", "font_high"])
    for model, readings in found.items():
        for one in readings:
            figures = [one.chance, one.pieces, one.font, one.shuffled, *one.pieces_interval, *one.font_interval]
            texts = ["" if np.isnan(figure) else f"{figure:.4f}" for figure in figures]
            writer.writerow([model, one.extractor, one.layer, one.task, one.probe, *texts])
    return text.getvalue()


def to_json(found: Mapping[str, Sequence[Reading]]) -> dict[str, Any]:
    """{model: [readings]}."""
    cleaned: dict[str, Any] = without_nan({model: [asdict(one) for one in found[model]] for model in found})
    return cleaned


def draw(found: Mapping[str, Sequence[Reading]], path: Any) -> None:
    """A grid a model: tasks by layers, on the held-out sound font, 0 at chance and 1 where all is right.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figures, backend = extra_module("matplotlib.figure"), extra_module("matplotlib.backends.backend_agg")
    figure = figures.Figure(figsize=(9.5, 0.6 + 3.3 * len(found)), layout="constrained")
    backend.FigureCanvasAgg(figure)
    axes = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    for axis, (model, readings) in zip(axes, found.items(), strict=True):
        shown = [one for one in readings if one.probe == "linear"]
        places = list(dict.fromkeys((one.extractor, one.layer) for one in shown))
        tasks = list(dict.fromkeys(one.task for one in shown))
        grid = np.full((len(tasks), len(places)), np.nan)
        for one in shown:
            row, column = tasks.index(one.task), places.index((one.extractor, one.layer))
            grid[row, column] = one.above_chance(one.font)
        image = axis.imshow(grid, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for row, column in np.ndindex(*grid.shape):
            value = grid[row, column]
            if np.isfinite(value):
                colour = "white" if value < 0.6 else "black"
                axis.text(column, row, f"{max(value, -0.99):.2f}", ha="center", va="center", fontsize=7, color=colour)
        names = [layer if extractor in (model, layer) else f"{extractor}\n{layer}" for extractor, layer in places]
        axis.set_xticks(range(len(places)), names, fontsize=7)
        axis.set_yticks(range(len(tasks)), tasks, fontsize=7)
        borders = [place for place in range(1, len(places)) if places[place][0] != places[place - 1][0]]
        for border in borders:
            axis.axvline(border - 0.5, color="white", linewidth=3)
        axis.set_title(model, fontsize=9, loc="left")
        axis.tick_params(length=0)
    figure.colorbar(image, ax=list(axes), shrink=0.6, label="linear probe, held-out sound font: 0 chance, 1 all right")
    figure.savefig(path, dpi=110, format="png")


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return "" if np.isnan(value) else f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"
