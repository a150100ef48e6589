"""`evaluate survey build` and `evaluate survey score`: the listening test."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from musicstar_ext.errors import CommandParser, UserError, report_error

NAME = "musicstar_ext.evaluate"
BUILD = (
    "Make a listening test: OUT/page is a folder with a page that raters open in any browser, from a web server or "
    "from disk; OUT/key.json says which recording is whose and stays with you. Files are matched by name: DIR/a.wav of "
    "--input, --gold and each --method are one piece."
)
SCORE = (
    "Turn the files that raters sent back into points (with five methods 5 for the first ... 1 for the last), "
    "intervals and agreement. A file that does not fit is named and left out; the exit status is then 2."
)


def add_to(subparsers: Any) -> None:
    survey = subparsers.add_parser("survey", help="the listening test: make its page, count its results")
    commands = survey.add_subparsers(
        dest="survey_command", required=True, metavar="build|score", parser_class=CommandParser
    )
    _add_build(commands)
    _add_score(commands)


def _add_build(commands: Any) -> None:
    parser = commands.add_parser("build", help="make the page", description=BUILD)
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="a folder that is not there yet")
    add("--input", type=Path, metavar="DIR", help="what the methods were given")
    add("--gold", type=Path, metavar="DIR", help="the same pieces on the target instruments")
    add("--method", type=_method, action="append", metavar="NAME=DIR", help="a method's outputs; 2 to 9 of them")
    add("--pieces", type=_names, metavar="A,B,...", help="which pieces (all that input and gold have)")
    add("--description", type=Path, metavar="JSON", help="instead of --input, --gold, --method, --pieces: a file that "
        'says {"pieces": [{"name": N, "input": FILE, "gold": FILE, "outputs": {METHOD: FILE, ...}}, ...]}')  # fmt: skip
    add("--title", metavar="T", help="of the page")
    add("--input-label", metavar="TEXT", help='what raters read about the input, such as "strings and piano"')
    add("--gold-label", metavar="TEXT", help='what they read about the reference, such as "clarinet and vibraphone"')
    add(
        "--match-loudness",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="give all recordings of a piece one loudness (ITU-R BS.1770); nothing is ever clipped (%(default)s)",
    )
    add("--seed", type=_seed, metavar="N", help="of the recordings' names (fresh and secret, kept in the key)")
    parser.set_defaults(run=_build)


def _add_score(commands: Any) -> None:
    parser = commands.add_parser("score", help="count the results", description=SCORE)
    add = parser.add_argument
    add("key", type=Path, metavar="KEY", help="the key.json of `survey build`")
    add("results", type=Path, nargs="+", metavar="RESULT", help="raters' files, or folders of them")
    add("-o", "--output", type=Path, metavar="OUT", help="folder for Markdown, CSV, JSON and figures")
    add("--skip-invalid", action="store_true", help="exit status 0 though some files did not fit")
    parser.set_defaults(run=_score)


def _build(options: argparse.Namespace) -> None:
    from .survey.build import build_survey
    from .survey.description import Description, Texts, from_folders, from_json

    texts = Texts(options.title, options.input_label, options.gold_label)
    folders = {"--input": options.input, "--gold": options.gold, "--method": options.method}
    description: Description
    if options.description is not None:
        given = [name for name, value in {**folders, "--pieces": options.pieces}.items() if value is not None]
        if given:
            raise UserError(f"--description already says what {given[0]} would")
        description = from_json(options.description, texts)
    else:
        lacking = [name for name, value in folders.items() if value is None]
        if lacking:
            raise UserError(f"{lacking[0]} is needed (or --description)")
        names = [name for name, _ in options.method]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"--method: two methods are called {name!r}")
        description = from_folders(options.input, options.gold, options.method, options.pieces, texts)

    from tqdm import tqdm

    with tqdm(total=len(description.pieces), unit="piece", leave=False, disable=None) as bar:
        report = build_survey(
            description,
            options.output,
            match_loudness=options.match_loudness,
            seed=options.seed,
            progress=lambda _: bar.update() and None,
        )
    for line in report.warnings:
        print(f"{NAME}: warning: {line}", file=sys.stderr)
    count = len(description.pieces)
    print(
        f"{report.page}: {count} {'piece' if count == 1 else 'pieces'}, {len(description.methods)} methods, "
        f"{report.bytes / 1e6:.1f} MB: publish or send this folder; raters open index.html"
    )
    print(f"{report.key}: keep this to yourself until the results are in")


def _score(options: argparse.Namespace) -> int:
    from .survey.report import markdown, write_report
    from .survey.results import find_results, latest, read_key, read_result
    from .survey.scores import score

    key = read_key(options.key)
    valid, invalid = [], 0
    for path in find_results(options.results, options.key):
        try:
            valid.append(read_result(path, key))
        except UserError as error:
            report_error(error, NAME)
            invalid += 1
    if not valid:
        raise UserError("no valid results")
    results, left_out = latest(valid)
    for line in left_out:
        print(f"{NAME}: warning: {line}", file=sys.stderr)
    scores = score(key, results)
    if options.output is not None:
        write_report(options.output, key, results, scores)
    print(markdown(key, results, scores), end="")
    return 2 if invalid and not options.skip_invalid else 0


def _method(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or not name.strip() or not folder:
        raise argparse.ArgumentTypeError(f"must be NAME=DIR, not {text!r}")
    return name.strip(), Path(folder)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"must be names with commas between them, not {text!r}")
    return names


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, not {text}")
    return int(text)
