"""`python -m musicstar_ext.data`: make training data, and check it."""

from __future__ import annotations

import argparse
import sys

from musicstar_ext.errors import CommandParser, run_command

from .check_command import add_check
from .prepare_command import add_prepare
from .render_command import add_render

PROG = "python -m musicstar_ext.data"


def main(arguments: list[str] | None = None) -> int:
    def run() -> int | None:
        options = _parser().parse_args(arguments)
        status: int | None = options.run(options)
        return status

    return run_command(run, PROG)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(PROG, description="Make training data.")
    commands = parser.add_subparsers(dest="command", required=True)
    add_prepare(commands)
    add_render(commands)
    add_check(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
