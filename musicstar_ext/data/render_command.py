"""`python -m musicstar_ext.data render`: make a set from scores and sound fonts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError

from .option_types import number, positive, seed, shares

DEFAULT_HOURS = 4.0
MOST_HOURS = 10_000.0

DESCRIPTION = """Render a set from the scores that come with music21: every piece by the instruments of each domain,
with the same notes; all stems, the mixtures, and the notes. Run again, it goes on where it was stopped. The corpus has
about 500 scores; a set that is longer comes back to them: to the next excerpt of a long one, then to the same bars in
another key, at another tempo, with other dynamics, the parts shared out differently."""


def add_render(subparsers: Any) -> None:
    """Add the subcommand to a parser's."""
    parser = subparsers.add_parser("render", help="render scores with sound fonts", description=DESCRIPTION)
    parser.add_argument("output", metavar="OUT", type=Path, help="folder of the set; made if need be")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--hours",
        metavar="H",
        type=_hours,
        default=DEFAULT_HOURS,
        help="at least this much music (default: %(default)g)",
    )
    length.add_argument("--pieces", metavar="N", type=positive, help="this number of pieces, of about a minute each")
    parser.add_argument(
        "--domain",
        metavar="NAME=STEM:PROGRAM,...",
        action="append",
        help="instruments that play together: for each stem a General MIDI program, by number (from 0) or name; may be "
        "repeated, stems at the same position play the same notes "
        "(default: strings-piano=strings:48,piano:0 and clarinet-vibraphone=clarinet:71,vibraphone:11)",
    )
    parser.add_argument(
        "--range",
        metavar="STEM=LOW-HIGH",
        action="append",
        help="what a stem's instrument can play, as MIDI numbers or such as C4-C7; may be repeated "
        "(default: the usual sounding range of its program)",
    )
    parser.add_argument(
        "--source",
        metavar="DOMAIN",
        action="append",
        help="vary how this domain sounds (sound font and program of each stem, tuning, touch, room, tone, noise, "
        "level) and play the others by the first sound font, dry: a set for translating from this domain "
        "(default: one font a piece, all domains alike)",
    )
    parser.add_argument(
        "--full-rate",
        action="store_true",
        help="also write the set as 44.1 kHz stereo, into OUT/full-rate: about 60 MB a piece of two instruments",
    )
    parser.add_argument(
        "--sound-font",
        metavar="PATH",
        type=Path,
        action="append",
        help="General MIDI sound font for training and validation; may be repeated, the best one first "
        "(default: the installed ones)",
    )
    parser.add_argument(
        "--test-sound-font",
        metavar="PATH",
        type=Path,
        help="held-out sound font, for the test pieces only, with --source for that domain "
        "(default: TimGM6mb.sf2, where installed)",
    )
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="of all choices (default: %(default)s)")
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=positive,
        default=os.cpu_count() or 1,
        help="processes (default: one a processor)",
    )
    parser.add_argument(
        "--split",
        metavar="TRAIN,VALIDATION,TEST",
        type=shares,
        default="0.8,0.15,0.05",
        help="shares of the pieces (default: %(default)s); a score belongs to one split",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Render a set as the options say, and print what it came to."""
    from .instruments import DEFAULT_DOMAINS, make_domains, parse_domain, parse_range
    from .plan import SetOptions
    from .render import render_set
    from .sound_fonts import check_programs, choose_sound_fonts

    asked = [parse_domain(text) for text in options.domain] if options.domain else list(DEFAULT_DOMAINS.items())
    domains = make_domains(asked, [parse_range(text) for text in options.range or ()])
    source = options.source[0] if options.source else None
    if len(options.source or ()) > 1:
        raise UserError("--source may be given once: render a set of its own for the other direction")
    if source is not None and source not in domains:
        raise UserError(f"--source {source}: no such domain; there are {', '.join(domains)}")
    fonts = choose_sound_fonts(options.sound_font, options.test_sound_font, options.split)
    check_programs({font: None for split in fonts.values() for font in split}, domains)
    report = render_set(
        options.output,
        SetOptions(options.seed, options.split, fonts, domains, source),
        pieces=options.pieces,
        hours=None if options.pieces else options.hours,
        jobs=options.jobs,
        full_rate=options.full_rate,
    )
    kept = f", {report.kept} of them kept from before" if report.kept else ""
    repeated = f", each up to {report.most_often} times" if report.most_often > 1 else ""
    length = f"{report.pieces} pieces, {report.hours:.2f} hours{kept}"
    print(f"{options.output}: {length}; from {report.scores} scores{repeated}")


def _hours(text: str) -> float:
    hours = number(text)
    if not 0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {MOST_HOURS:g}, not {text}")
    return hours
