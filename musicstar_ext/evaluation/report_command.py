"""`evaluate report`: a page that shows and plays what `evaluate table` measures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError

from .table_command import add_material_options, measured_table

PAGE = "report.html"
LONGEST = 120.0  # seconds of a piece that a page can hold


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "report",
        help="a page with players, spectrograms and notes of source, outputs and true recording",
        description="Measure as `evaluate table` does, and write the table's files and one self-contained page.",
    )
    add_material_options(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=f"where {PAGE} is written")
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="of what is shown, in seconds (%(default)g)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of each piece (%(default)g)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from musicstar_ext.cache import Cache

    from .pitch import check_melodia
    from .report import Excerpt, write_report
    from .table_files import write_table

    if not (0 <= options.start < 86_400 and 1 <= options.seconds <= LONGEST):
        raise UserError(f"--start must be at least 0 and --seconds from 1 to {LONGEST:g}")
    check_melodia()
    table, material, made_by = measured_table(options)
    paths = write_table(table, options.output, made_by, material.is_starnet)
    page = options.output / PAGE
    kept = Cache.chosen(options.cache)
    write_report(page, table, material, made_by, excerpt=Excerpt(options.start, options.seconds), kept=kept)
    print("written: " + ", ".join(map(str, [page, *paths])))
    return 0
