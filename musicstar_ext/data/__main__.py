"""`python -m musicstar_ext.data`: make training data."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

from musicstar_ext.errors import CommandParser, run_command

from .prepared import SPLITS

PROG = "python -m musicstar_ext.data"
DEFAULT_HOURS = 4.0
MOST_HOURS = 10_000.0


def main(arguments: list[str] | None = None) -> int:
    return run_command(lambda: _render(_parser().parse_args(arguments)), PROG)


def _render(options: argparse.Namespace) -> None:
    from .plan import SetOptions
    from .render import render_set
    from .sound_fonts import choose_sound_fonts

    fonts = choose_sound_fonts(options.sound_font, options.test_sound_font, options.split)
    wanted = SetOptions(options.seed, options.split, fonts)
    hours = None if options.pieces else options.hours
    report = render_set(options.output, wanted, pieces=options.pieces, hours=hours, jobs=options.jobs)
    kept = f", {report.kept} of them kept from before" if report.kept else ""
    print(f"{options.output}: {report.pieces} pieces, {report.hours:.2f} hours{kept}")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(PROG, description="Make training data.")
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser(
        "render",
        help="render scores with sound fonts",
        description="Render a set from the scores that come with music21: every piece by strings and piano and, with "
        "the same notes, by clarinet and vibraphone; all stems and both mixtures. Run again, it goes on where it was "
        "stopped.",
    )
    render.add_argument("output", metavar="OUT", type=Path, help="folder of the set; made if need be")
    length = render.add_mutually_exclusive_group()
    length.add_argument(
        "--hours",
        metavar="H",
        type=_hours,
        default=DEFAULT_HOURS,
        help="at least this much music (default: %(default)g)",
    )
    length.add_argument("--pieces", metavar="N", type=_positive, help="this number of pieces, of about a minute each")
    render.add_argument(
        "--sound-font",
        metavar="PATH",
        type=Path,
        action="append",
        help="General MIDI sound font for training and validation; may be repeated (default: the installed ones)",
    )
    render.add_argument(
        "--test-sound-font",
        metavar="PATH",
        type=Path,
        help="held-out sound font, for the test pieces only (default: TimGM6mb.sf2, where installed)",
    )
    render.add_argument("--seed", metavar="N", type=_seed, default=0, help="of all choices (default: %(default)s)")
    render.add_argument(
        "--jobs", metavar="N", type=_positive, default=os.cpu_count() or 1, help="processes (default: one a processor)"
    )
    render.add_argument(
        "--split",
        metavar="TRAIN,VALIDATION,TEST",
        type=_shares,
        default="0.8,0.15,0.05",
        help="shares of the pieces (default: %(default)s); a score belongs to one split",
    )
    return parser


def _hours(text: str) -> float:
    hours = _number(text)
    if not 0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {MOST_HOURS:g}, not {text}")
    return hours


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, not {text}")
    return int(text)


def _shares(text: str) -> dict[str, float]:
    shares = [_number(part) for part in text.split(",")]
    if len(shares) != len(SPLITS) or min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
        raise argparse.ArgumentTypeError(f"must be three shares that sum to 1, such as 0.8,0.15,0.05, not {text}")
    return dict(zip(SPLITS, shares, strict=True))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
