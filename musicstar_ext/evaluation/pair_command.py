"""`evaluate pair OUTPUT GOLD`: every measure of one translation against the true recording."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

DESCRIPTION = (
    "Compare a translation with the recording that it should be. Beside each figure stands what the unchanged source "
    "would get (copying it is no translation), what the true recording gets after 8-bit mu-law (the best that these "
    "models can do), and what it gets itself."
)
TITLES = {"output": "output", "source": "source copied", "mu-law": "gold in mu-law", "gold": "gold"}


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "pair", help="measure one translation against the true recording", description=DESCRIPTION
    )
    add = parser.add_argument
    add("output", type=Path, metavar="OUTPUT", help="the translation")
    add("gold", type=Path, metavar="GOLD", help="the same music, truly played by the target's instruments")
    add("--source", type=Path, metavar="INPUT", help="what was translated")
    add("--style-model", type=Path, metavar="FILE", help="a network of `evaluate train-style`")
    add("--notes", type=Path, metavar="FILE", help="the notes that were played: a prepared set's notes.json")
    add("--stems", metavar="A,B", help="whose notes of --notes count (all of them; a note in two stems counts once)")
    add_cache_option(parser)
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """`--cache DIR`, for every command that finds pitches or computes MFCCs; `cache.Cache.chosen` takes its value."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where pitches and MFCCs of recordings are kept (MUSICSTAR_CACHE, or the user's cache folder)",
    )


def _run(options: argparse.Namespace) -> int:
    from musicstar_ext.cache import Cache

    from .notes import read_notes, true_notes
    from .pair import measure_pair
    from .recording import RATE, read_recording

    if options.stems is not None and options.notes is None:
        raise UserError("--stems needs --notes")
    cache = Cache.chosen(options.cache)
    output, gold = read_recording(options.output), read_recording(options.gold)
    source = read_recording(options.source) if options.source else None
    style = None
    if options.style_model:
        extra_module("torch", "train")
        extra_module("librosa")
        from .style import StyleModel

        style = StyleModel.load(options.style_model)
    notes = None
    if options.notes:
        stems = [name.strip() for name in (options.stems or "").split(",") if name.strip()]
        try:
            notes = true_notes(read_notes(options.notes), stems, min(len(output), len(gold)) / RATE)
        except UserError as error:
            line = str(error)
            raise UserError(line if str(options.notes) in line else f"{options.notes}: {line}") from None
    try:
        report = measure_pair(output, gold, source=source, style=style, notes=notes, cache=cache)
    except UserError as error:
        raise UserError(f"{options.output}, {options.gold}: {error}") from None
    for line in report.warnings:
        print(f"musicstar_ext.evaluate: {line}", file=sys.stderr)
    names = {"output": str(options.output), "gold": str(options.gold)}
    if options.source:
        names["source"] = str(options.source)
    if options.json:
        print(json.dumps({"files": names, **dataclasses.asdict(report)}, indent=2))
    else:
        _print(report)
        if style is None:
            print("not measured: style: give a network of `evaluate train-style` as --style-model")
        else:
            print(f"style network: {style.description['target']}, told from {style.description['source']}")
    return 0


def _print(report: Any) -> None:
    from .pair import MEASURES

    columns = list(report.values)
    rows = [name for name in MEASURES if name in report.values["output"]]
    width = max(len(MEASURES[name]) for name in rows)
    print(f"{f'{report.seconds:.2f} s compared':{width}}" + "".join(f"  {TITLES[name]:>14}" for name in columns))
    for row in rows:
        print(f"{MEASURES[row]:{width}}" + "".join(f"  {report.values[name][row]:14.4f}" for name in columns))
    for group, why in report.missing.items():
        print(f"not measured: {group}: {why}")
