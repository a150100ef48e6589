"""`python -m musicstar_ext.concepts learn|hierarchy|probe|...`: what networks know of music.

One module a subcommand: `add_to(subparsers)` adds its parser, whose default `run` takes the parsed options and returns
the exit status (or None).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from musicstar_ext.errors import run_subcommands

from . import hierarchy_command, learn_command, probe_command, render_command, shift_command

NAME = "musicstar_ext.concepts"
COMMANDS = (render_command, learn_command, hierarchy_command, probe_command, shift_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 2 bad input or arguments, 130 Ctrl-C."""
    return run_subcommands(NAME, "Find out what a network knows of music.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
