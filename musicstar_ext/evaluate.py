"""`python -m musicstar_ext.evaluate pair|train-style|...`: measure translations.

One module a subcommand, of `musicstar_ext.evaluation` or, for what is measured with concepts, of
`musicstar_ext.concepts`: `add_to(subparsers)` adds its parser, whose default `run` takes the parsed options and returns
the exit status (or None).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .concepts import shift_command
from .errors import CommandParser, run_command
from .evaluation import (
    frechet_command,
    pair_command,
    report_command,
    separation_command,
    style_command,
    survey_command,
    table_command,
)

NAME = "musicstar_ext.evaluate"
COMMANDS = (
    pair_command,
    frechet_command,
    table_command,
    report_command,
    separation_command,
    style_command,
    shift_command,
    survey_command,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 2 bad input or arguments, 130 Ctrl-C."""
    return run_command(lambda: _run(arguments), NAME)


def build_parser() -> CommandParser:
    parser = CommandParser(prog=f"python -m {NAME}", description="Measure how well translations keep the music.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    for command in COMMANDS:
        command.add_to(subparsers)
    return parser


def _run(arguments: Sequence[str] | None) -> int | None:
    options = build_parser().parse_args(arguments)
    status: int | None = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
