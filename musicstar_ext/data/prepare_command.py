"""`python -m musicstar_ext.data prepare`: make a set from recordings."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from .option_types import number, positive, seed, shares
from .prepare_piece import LEAST_SILENCE, SILENCE

DESCRIPTION = """Prepare a collection of recordings for training, as StarNet was when it was published: every piece's
tracks are trimmed to the shortest, long silence is cut from all of them, and they are brought to 16 kHz mono. Archives
are read as a stream, without unpacking them. A piece with a missing or damaged recording is named and left out. Run
again, it goes on where it was stopped."""


def add_prepare(subparsers: Any) -> None:
    """Add the subcommand to a parser's."""
    parser = subparsers.add_parser("prepare", help="prepare recordings (StarNet)", description=DESCRIPTION)
    parser.add_argument(
        "inputs", metavar="IN", type=Path, nargs="+", help="folder or tar archive with recordings; all parts of a set"
    )
    parser.add_argument("output", metavar="OUT", type=Path, help="folder of the set; made if need be")
    parser.add_argument(
        "--layout",
        metavar="FILE",
        type=Path,
        help='JSON that says how files are named: {"domains": {domain: [stems]}, "files": {in a name: track}, '
        '"pattern": "{piece}.{file}.wav"} (default: StarNet, 001.0.wav to 104.5.wav)',
    )
    parser.add_argument(
        "--silence",
        metavar="DB|off",
        type=_silence,
        default=SILENCE,
        help="what is silence, in dB of full scale: cut where the quietest track is below (default: %(default)g)",
    )
    parser.add_argument(
        "--least-silence",
        metavar="S",
        type=_seconds,
        default=LEAST_SILENCE,
        help="seconds of silence that are cut, at the least (default: %(default)g)",
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--split",
        metavar="TRAIN,VALIDATION,TEST",
        type=shares,
        default="0.8,0.15,0.05",
        help="shares of the pieces (default: %(default)s)",
    )
    split.add_argument(
        "--split-file", metavar="FILE", type=Path, help='JSON with every piece\'s split: {"001": "train"}'
    )
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="of the split (default: %(default)s)")
    parser.add_argument(
        "--full-rate",
        action="store_true",
        help="also write the set as 44.1 kHz stereo, with the same cuts, into OUT/full-rate, for training a separator",
    )
    parser.add_argument("--strict", action="store_true", help="do not finish a set from which a piece was left out")
    parser.add_argument(
        "--jobs", metavar="N", type=positive, default=os.cpu_count() or 1, help="processes (default: one a processor)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prepare a set as the options say, and print what it came to."""
    from tqdm import tqdm

    from .layout import STARNET, read_layout
    from .prepare import by_file, by_shares, prepare_set
    from .prepare_piece import PieceOptions

    def report(line: str) -> None:
        tqdm.write(f"warning: {line}", file=sys.stderr)

    layout = read_layout(options.layout) if options.layout else STARNET
    if options.split_file:
        deal = by_file(options.split_file, report)
        splits: dict[str, Any] = {"split_file": options.split_file.name}
    else:
        deal = by_shares(options.split, options.seed)
        splits = {"shares": options.split, "seed": options.seed}
    done = prepare_set(
        options.inputs,
        options.output,
        layout,
        PieceOptions(options.silence, options.least_silence),
        deal,
        full_rate=options.full_rate,
        jobs=options.jobs,
        strict=options.strict,
        report=report,
        made_by=splits,
    )
    kept = f", {done.kept} of them kept from before" if done.kept else ""
    problems = f"; {len(done.problems)} warnings" if done.problems else ""
    length = f"{done.hours:.3g} hours ({60 * done.cut_hours:.1f} minutes of silence cut)"
    print(f"{options.output}: {done.pieces} pieces, {length}{kept}{problems}")


def _silence(text: str) -> float | None:
    if text == "off":
        return None
    level = number(text)
    if not -200 <= level < 0:
        raise argparse.ArgumentTypeError(f"must be off, or from -200 to below 0, not {text}")
    return level


def _seconds(text: str) -> float:
    seconds = number(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 3600, not {text}")
    return seconds
