"""`python -m musicstar_ext.data check`: what is wrong with a set."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .option_types import positive

if TYPE_CHECKING:
    from .check import CheckReport

DESCRIPTION = """Look at every sample of a prepared set, and say what is wrong with it, in a line each: files that are
missing or of the wrong kind, silent or clipped tracks, stems that do not belong to their mixture, domains that are not
aligned, music that is in two splits, notes that do not fit. Exit status 0 where nothing is, else 2."""


def add_check(subparsers: Any) -> None:
    """Add the subcommand to a parser's."""
    parser = subparsers.add_parser("check", help="say what is wrong with a set", description=DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of a prepared set")
    parser.add_argument(
        "--jobs", metavar="N", type=positive, default=os.cpu_count() or 1, help="processes (default: one a processor)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check a set and print what was found; the exit status."""
    from .check import check_set

    report = check_set(options.folder, options.jobs)
    if options.json:
        print(json.dumps(_as_json(options.folder, report), indent=1))
    else:
        for problem in report.problems:
            print(" ".join(problem.split()))
        print(_table(options.folder, report))
    return 2 if report.problems else 0


def _as_json(folder: Path, report: CheckReport) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "sound": not report.problems,
        "problems": report.problems,
        "splits": {
            split: {"pieces": report.pieces[split], "hours": round(report.hours[split], 4)} for split in report.pieces
        },
        "tracks": {
            track: {
                "lowest_dbfs": round(lowest, 2),
                "mean_dbfs": round(mean, 2),
                "highest_dbfs": round(highest, 2),
                "clipped_share": report.clipped[track],
            }
            for track, (lowest, mean, highest) in report.levels.items()
        },
        "pieces_with_notes": report.with_notes,
        "full_rate": report.full_rate,
    }


def _table(folder: Path, report: CheckReport) -> str:
    lines = [f"{folder}: {'nothing is wrong' if not report.problems else f'{len(report.problems)} problems'}", ""]
    lines.append(f"{'split':<24}{'pieces':>8}{'hours':>9}")
    lines += [f"{split:<24}{report.pieces[split]:>8}{report.hours[split]:>9.3f}" for split in report.pieces]
    lines.append(f"{'all':<24}{sum(report.pieces.values()):>8}{sum(report.hours.values()):>9.3f}")
    lines += ["", f"{'track':<24}{'mean':>8}{'lowest':>9}{'highest':>9} dBFS{'clipped':>11}"]
    for track, (lowest, mean, highest) in report.levels.items():
        lines.append(f"{track:<24}{mean:>8.1f}{lowest:>9.1f}{highest:>9.1f}{100 * report.clipped[track]:>14.4f} %")
    notes = f"notes: {report.with_notes} pieces" if report.with_notes else "notes: none"
    return "\n".join([*lines, "", f"{notes}; full-rate copy: {'yes' if report.full_rate else 'no'}"])
