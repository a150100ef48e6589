"""A table as Markdown, CSV, JSON and a figure."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from musicstar_ext._version import __version__
from musicstar_ext.atomic import replacing, write_atomically
from musicstar_ext.extras import extra_module

from .bootstrap import Interval
from .pair import MEASURES
from .published import TABLE_1
from .table import BASELINES, BOTH, Table

SHORT = {
    "content": "content (Jaccard)",
    "style": "style (cosine)",
    "pitch_accuracy": "multi-pitch accuracy",
    "true_pitch_accuracy": "accuracy, true notes",
    "note_f": "note F",
    "true_note_f": "note F, true notes",
    "log_spectral_distance": "log-spectral distance (dB)",
}
"""The columns of the Markdown table; the other files have every measure."""


def write_table(table: Table, folder: Path, made_by: dict[str, Any], published: bool) -> list[Path]:
    """Write `table.md`, `.csv`, `.json` and `.png` into a folder, each whole or not at all.

    Args:
        made_by: how the table was made, for the JSON and the last lines of the Markdown.
        published: whether the paper's figures belong beside these (its own clips were measured).

    Raises:
        UserError: the folder cannot be written; MissingExtraError: matplotlib is not installed.
    """
    paths = [folder / f"table.{suffix}" for suffix in ("md", "csv", "json", "png")]
    write_atomically(paths[0], to_markdown(table, made_by, published).encode())
    write_atomically(paths[1], to_csv(table).encode())
    write_atomically(paths[2], (json.dumps(to_json(table, made_by), indent=1) + "\n").encode())
    _draw(table, paths[3], published)
    return paths


def to_markdown(table: Table, made_by: dict[str, Any], published: bool) -> str:
    measures = [name for name in SHORT if name in table.measures]
    lines = [f"# {table.description}", ""]
    lines += ["Means over pieces and directions, with 95 % bootstrap intervals over pieces.", ""]
    lines += _grid(
        ["system", *(SHORT[name] for name in measures)],
        [[_title(name), *(str(table.interval(name, each)) for each in measures)] for name in table.values],
    )
    measured = {key[0] for rows in table.values.values() for key in rows}
    for direction in table.directions if len(measured) > 1 else ():
        lines += ["", f"## {direction.replace('_', ' ')}", ""]
        lines += _grid(
            ["system", *(SHORT[name] for name in measures)],
            [
                [_title(name), *(str(table.interval(name, each, direction)) for each in measures)]
                for name in table.values
                if any(key[0] == direction for key in table.values[name])
            ],
        )
    if published:
        lines += ["", "## Published (the paper's Table 1: ten pieces, of which these clips are a part)", ""]
        lines += _grid(
            ["method", "content (Jaccard)", "style (cosine)", "points: content", "style", "quality"],
            [[name, f"{row.jaccard:.3f}", f"{row.cosine:.3f}", *map(str, row[:3])] for name, row in TABLE_1.items()],
        )
        lines += ["", "A cosine is a style network's own: figures of two networks do not compare."]
    if table.missing:
        lines += ["", "Not measured:", ""]
        lines += [f"- {group}: {why}" for group, why in table.missing.items()]
    if table.warnings:
        lines += ["", "Warnings:", ""]
        lines += [f"- {line}" for line in table.warnings]
    lines += [
        "",
        f"Made by musicstar_ext {__version__}: " + ", ".join(f"{key} {value}" for key, value in made_by.items()),
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """One row a system, direction and piece; an empty cell where a measure was not taken."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    measures = table.measures
    writer.writerow(["system", "direction", "piece", *measures])
    for name in table.values:
        for (direction, piece), values in sorted(table.values[name].items()):
            writer.writerow([name, direction, piece, *(_cell(values.get(each)) for each in measures)])
    return text.getvalue()


def to_json(table: Table, made_by: dict[str, Any]) -> dict[str, Any]:
    """Means and intervals of every measure, and the value of every piece."""
    return {
        "material": table.description,
        "made_by": {"version": __version__, **made_by},
        "directions": table.directions,
        "pieces": table.pieces,
        "measures": {name: MEASURES[name] for name in table.measures},
        "systems": {
            name: {
                "means": {
                    direction: {
                        each: _interval(interval)
                        for each in table.measures
                        if not math.isnan((interval := table.interval(name, each, direction)).mean)
                    }
                    for direction in (*table.directions, BOTH)
                },
                "pieces": [
                    {"direction": direction, "piece": piece, **values}
                    for (direction, piece), values in sorted(table.values[name].items())
                ],
            }
            for name in table.values
        },
        "missing": table.missing,
        "warnings": table.warnings,
    }


def _draw(table: Table, path: Path, published: bool) -> None:
    """Content and style of every system: a dot a direction, a bar for the mean's interval."""
    extra_module("matplotlib")
    from matplotlib.figure import Figure

    measures = [name for name in ("content", "style", "note_f") if name in table.measures] or table.measures[:1]
    systems = list(table.values)
    figure = Figure(figsize=(4.2 * len(measures) + 2.2, 0.42 * len(systems) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        for row, name in enumerate(systems):
            interval = table.interval(name, measure)
            colour = "0.55" if name in BASELINES else "C0"
            if not math.isnan(interval.low):
                axis.barh(row, interval.high - interval.low, 0.35, interval.low, color=colour, alpha=0.35)
            for direction, marker in zip(table.directions, "<>", strict=False):
                axis.plot(table.interval(name, measure, direction).mean, row, marker, color=colour, markersize=5)
            axis.plot(interval.mean, row, "|", color=colour, markersize=16, markeredgewidth=2)
        if published and measure == "content":
            axis.axvline(TABLE_1["mixture-supervised"].jaccard, color="C3", linestyle=":", linewidth=1)
        axis.set_xlabel(SHORT.get(measure, measure))
        axis.set_xlim(0, 1.02)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(systems)), [name if name not in BASELINES else f"({name})" for name in systems])
    axes[0].invert_yaxis()
    legend = "bar: 95 % interval of the mean; " + ", ".join(
        f"{marker} {direction.replace('_', ' ')}" for marker, direction in zip("◂▸", table.directions, strict=False)
    )
    if published:
        legend += "; dotted: the paper's best method on all ten pieces"
    figure.suptitle(f"{table.description}\n{legend}", fontsize=8)
    with replacing(path) as descriptor, open(descriptor, "wb", closefd=False) as file:
        figure.savefig(file, format="png", dpi=130)


def _title(name: str) -> str:
    return f"*{BASELINES[name]}*" if name in BASELINES else name


def _grid(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
    ]


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _interval(interval: Interval) -> dict[str, float | None]:
    return {
        key: None if math.isnan(value) else round(value, 6)
        for key, value in zip(("mean", "low", "high"), interval, strict=True)
    }
