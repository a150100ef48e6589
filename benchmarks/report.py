"""What every benchmark prints: a table for people, or with --json one object a line; --save keeps the objects."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import Rate, machine

from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import CommandParser, UserError, run_command


class Report:
    """Rows of one question; `versions` joins the machine's description in every row."""

    def __init__(self, question: str, options: argparse.Namespace, **versions: str) -> None:
        self.question = question
        self.options = options
        self.rows: list[dict[str, Any]] = []
        self.machine = machine() | versions
        self.say(", ".join(f"{key} {value}" for key, value in self.machine.items()))

    def say(self, text: str) -> None:
        """A line that is not a row: only for people."""
        if not self.options.json:
            print(text, flush=True)

    def add(
        self,
        case: str,
        rate: Rate,
        *,
        isa: str,
        precision: str,
        lanes: int,
        threads: int,
        baseline: float,
        bound: float,
        device: str = "cpu",
        **more: Any,
    ) -> None:
        """One row. `baseline` and `bound` are samples a second as well; what follows is the question's own."""
        row = {
            "question": self.question,
            "case": case,
            "device": device,
            "isa": isa,
            "precision": precision,
            "lanes": lanes,
            "threads": threads,
            "samples_per_second": round(rate.median, 1),
            "spread": None if math.isnan(rate.spread) else round(rate.spread, 3),  # null: timed once
            "baseline": round(baseline, 1),
            "ratio": round(rate.median / baseline, 2),
            "bound": round(bound, 1),
            "share_of_bound": round(rate.median / bound, 3),
            **more,
            **self.machine,
        }
        self.rows.append(row)
        if self.options.json:
            print(json.dumps(row), flush=True)
        else:
            spread = "   once" if math.isnan(rate.spread) else f"+- {rate.spread:4.0%}"
            print(
                f"{case:30s} {isa:10s} {precision:5s} {lanes:3d} lanes {threads:2d} threads {rate.median:12,.1f}/s "
                f"{spread} {rate.median / baseline:7.2f}x {rate.median / bound:5.0%} of bound",
                flush=True,
            )

    def save(self) -> None:
        """Write all rows to --save, whole or not at all."""
        if self.options.save is not None:
            text = "[\n" + ",\n".join(json.dumps(row) for row in self.rows) + "\n]\n"
            write_atomically(self.options.save, text.encode())


def parser_of(document: str | None) -> CommandParser:
    """A parser with the options that all benchmarks share."""
    parser = CommandParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny networks, hardly timed: does everything still run?")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line and nothing else")
    parser.add_argument("--save", type=Path, metavar="FILE", help="also write all rows to this file, a JSON array")
    return parser


def whole_numbers(text: str) -> tuple[int, ...]:
    """'1,8,16' -> (1, 8, 16), for argparse."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or max(numbers) > 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers from 1 to 1024, such as 1,8")
    return numbers


def known(allowed: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """A parser of comma-separated names out of `allowed`, for argparse."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if not set(names) <= set(allowed):
            raise argparse.ArgumentTypeError(f"{text!r}: known are {', '.join(allowed)}")
        return names

    return parse


def run_benchmark(main: Callable[[], None], path: str) -> int:
    """Run a benchmark as a command: bad arguments give one line and exit status 2."""
    return run_command(main, os.path.basename(path))


def check_same(name: str, difference: float, tolerance: float) -> None:
    """Results are compared before anything is timed.

    Raises:
        UserError: they differ by more than the tolerance (or are not numbers): there is nothing to time.
    """
    if not difference <= tolerance:
        raise UserError(f"{name} differs from the equations by {difference:.3g}, more than {tolerance:.3g}")
