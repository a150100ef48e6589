"""`concepts render`: a set of short tracks with exact labels and a known tree."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from musicstar_ext.data.option_types import positive, seed


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "render",
        help="make a concept set with exact labels and a known tree",
        description="Play chords by many instruments: 3 s each, labelled with instrument, family, chord, quality, root "
        "and register, in the form that `concepts learn` reads; test tracks by a sound font that is held out.",
    )
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="a folder, made")
    add("--instruments", type=positive, default=32, metavar="N", help="at most, over all families (%(default)s)")
    add(
        "--qualities",
        default="major,minor,diminished",
        metavar="LIST",
        help="of chords, on each of 12 roots (%(default)s)",
    )
    add("--tracks", type=positive, default=40, metavar="N", help="for each chord (%(default)s)")
    add("--sound-font", type=Path, action="append", metavar="FILE", help="for training; may be repeated")
    add("--test-sound-font", type=Path, metavar="FILE", help="for the test tracks")
    add("--seed", type=seed, default=0, metavar="N", help="another seed, other tracks (%(default)s)")
    add("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="processes (%(default)s)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from musicstar_ext.data.sound_fonts import choose_sound_fonts

    from .bars import Bars
    from .render import plan_tracks, render_set

    fonts = choose_sound_fonts(options.sound_font, options.test_sound_font, {"test": 1.0})
    qualities = [quality.strip() for quality in options.qualities.split(",")]
    plans = plan_tracks(fonts["train"], fonts["test"][0], options.instruments, qualities, options.tracks, options.seed)
    with Bars() as bars:
        render_set(plans, options.output, options.jobs, bars)
    concepts = {concept for plan in plans for concept, _ in plan.labels()}
    print(f"{options.output}: {len(plans)} tracks of {len(concepts)} concepts")
    return 0
