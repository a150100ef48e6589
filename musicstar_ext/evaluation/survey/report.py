"""A survey's scores as Markdown, CSV, JSON and figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicstar_ext.atomic import write_atomically
from musicstar_ext.extras import extra_module
from musicstar_ext.runtime.audio_writing import make_folder

from .protocol import QUESTIONS
from .results import Key, Result
from .scores import Scores, points_of


def write_report(folder: Path, key: Key, results: Sequence[Result], scores: Scores) -> list[Path]:
    """Write scores.md, .csv and .json, votes.csv (every single rank) and a figure a question into `folder`.

    Raises:
        UserError: the folder cannot be made or written.
        MissingExtraError: matplotlib is missing; nothing is written then.
    """
    extra_module("matplotlib.figure")
    make_folder(folder)
    files = {
        "scores.md": markdown(key, results, scores).encode(),
        "scores.csv": scores_csv(scores).encode(),
        "scores.json": (json.dumps(as_json(key, results, scores), indent=1, ensure_ascii=False) + "\n").encode(),
        "votes.csv": votes_csv(key, results).encode(),
    }
    files |= {f"{question.id}.png": figure(question.id, scores) for question in QUESTIONS}
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]


def markdown(key: Key, results: Sequence[Result], scores: Scores) -> str:
    """Totals as in Table 1, then means with intervals, then agreement."""
    count = len(key.methods)
    lines = [
        f"# {_cell(key.title)}",
        "",
        f"{_number(scores.raters, 'rater')}, {_number(scores.pieces, 'piece')}, {scores.votes} votes a question; "
        f"a vote gives {count} points to the first ... 1 to the last.",
        "",
        "## Points",
        "",
        *_table(
            ["method", *(question.id for question in QUESTIONS)],
            [
                [_cell(method), *(str(scores.questions[q.id].methods[method].total) for q in QUESTIONS)]
                for method in key.methods
            ],
        ),
        "",
        "## Mean points a vote, with 95 % bootstrap intervals over raters",
        "",
        *_table(
            ["method", *(question.id for question in QUESTIONS)],
            [[_cell(method), *(_mean(scores, q.id, method) for q in QUESTIONS)] for method in key.methods],
        ),
        "",
        "## Agreement",
        "",
        *_table(
            ["", *(question.id for question in QUESTIONS)],
            [
                ["Kendall's W, mean over pieces", *(_w(scores, q.id) for q in QUESTIONS)],
                ["Friedman, chi squared", *(_friedman(scores, q.id, 0) for q in QUESTIONS)],
                ["Friedman, p", *(_friedman(scores, q.id, 1) for q in QUESTIONS)],
            ],
        ),
        "",
        "W = 12 S / (m² (n³ - n)) for m raters and n methods, S the sum of squared deviations of the methods' rank "
        "sums from their mean. Friedman's test takes raters as blocks, each with the mean over pieces.",
    ]
    unheard = sum(result.unheard for result in results)
    if unheard:
        most = scores.votes * count
        lines += ["", f"{unheard} of {most} versions were ranked after less than a second of listening."]
    return "\n".join(lines) + "\n"


def scores_csv(scores: Scores) -> str:
    """One row a question and method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    places = len(next(iter(scores.questions.values())).methods)
    header = ["question", "method", "points", "mean", "low", "high"]
    writer.writerow([*header, *(f"place_{place}" for place in range(1, places + 1))])
    for question, found in scores.questions.items():
        for method, one in found.methods.items():
            low, high = one.interval or ("", "")
            writer.writerow([question, method, one.total, one.mean, low, high, *one.places])
    return text.getvalue()


def votes_csv(key: Key, results: Sequence[Result]) -> str:
    """One row a rank, for other statistics: rater, piece, question, method, place (1 is best), points."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rater", "piece", "question", "method", "place", "points"])
    points = points_of(key, results)
    for r, result in enumerate(results):
        for p, piece in enumerate(key.pieces):
            for q, question in enumerate(QUESTIONS):
                for m, method in enumerate(key.methods):
                    value = int(points[r, p, q, m])
                    writer.writerow(
                        [result.rater, piece.name, question.id, method, len(key.methods) + 1 - value, value]
                    )
    return text.getvalue()


def as_json(key: Key, results: Sequence[Result], scores: Scores) -> dict[str, Any]:
    """Everything, and what raters wrote."""
    return {
        "survey": key.survey,
        "title": key.title,
        "methods": list(key.methods),
        **dataclasses.asdict(scores),
        "unheard": sum(result.unheard for result in results),
        "devices": {result.rater: result.device for result in results},
        "comments": {result.rater: result.comment for result in results if result.comment.strip()},
    }


def figure(question: str, scores: Scores) -> bytes:
    """A PNG: for each method, which share of the votes put it at each place; best at the left.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    mpl, figures = extra_module("matplotlib"), extra_module("matplotlib.figure")
    found = scores.questions[question].methods
    # Names are not mathematics, whatever dollar signs they hold.
    with mpl.rc_context({"text.parse_math": False}):
        drawing = figures.Figure(figsize=(8, 1.4 + 0.55 * len(found)), layout="constrained")
        axes = drawing.subplots()
        colours = mpl.colormaps["viridis"]
        count = len(found)
        for row, one in enumerate(found.values()):
            left = 0.0
            for place, votes in enumerate(one.places):
                share = 100 * votes / scores.votes
                colour = colours(1 - place / (count - 1))
                axes.barh(row, share, left=left, height=0.75, color=colour, label=str(place + 1) if row == 0 else None)
                if share >= 4:
                    dark = sum(weight * c for weight, c in zip((0.3, 0.59, 0.11), colour, strict=False)) < 0.5
                    axes.text(left + share / 2, row, str(votes), ha="center", va="center", color="w" if dark else "k")
                left += share
            axes.text(101, row, f"{one.mean:.2f}", va="center")
        axes.text(101, -0.75, "mean", va="center")
        axes.set(yticks=range(count), xlim=(0, 100), xlabel="share of votes (%)")
        axes.set_yticklabels([name if len(name) <= 32 else name[:31] + "…" for name in found])
        axes.invert_yaxis()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        title = next(q.name for q in QUESTIONS if q.id == question)
        drawing.legend(title="place", loc="outside right center", reverse=False, frameon=False)
        axes.set_title(f"{title}: votes by place", loc="left")
        data = io.BytesIO()
        drawing.savefig(data, format="png", dpi=130)
    return data.getvalue()


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|---|{'---:|' * (len(header) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _mean(scores: Scores, question: str, method: str) -> str:
    one = scores.questions[question].methods[method]
    return f"{one.mean:.2f}" + (f" [{one.interval[0]:.2f}, {one.interval[1]:.2f}]" if one.interval else "")


def _w(scores: Scores, question: str) -> str:
    value = scores.questions[question].kendall_w
    return "-" if value is None else f"{value:.3f}"


def _friedman(scores: Scores, question: str, which: int) -> str:
    found = scores.questions[question].friedman
    return "-" if found is None else f"{found[0]:.2f}" if which == 0 else f"{found[1]:.2g}"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
