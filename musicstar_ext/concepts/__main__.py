"""`python -m musicstar_ext.concepts learn|hierarchy|probe|...`: what networks know of music.

One module a subcommand: `add_to(subparsers)` adds its parser, whose default `run` takes the parsed options and returns
the exit status (or None).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from musicstar_ext.errors import CommandParser, run_command

from . import hierarchy_command, learn_command, probe_command, render_command, shift_command

NAME = "musicstar_ext.concepts"
COMMANDS = (render_command, learn_command, hierarchy_command, probe_command, shift_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 2 bad input or arguments, 130 Ctrl-C."""
    return run_command(lambda: _run(arguments), NAME)


def build_parser() -> CommandParser:
    parser = CommandParser(prog=f"python -m {NAME}", description="Find out what a network knows of music.")
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
