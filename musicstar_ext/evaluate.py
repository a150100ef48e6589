"""`python -m musicstar_ext.evaluate pair|train-style|...`: measure translations.

One module a subcommand, of `musicstar_ext.evaluation` or, for what is measured with concepts, of
`musicstar_ext.concepts`: `add_to(subparsers)` adds its parser, whose default `run` takes the parsed options and returns
the exit status (or None).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .concepts import shift_command
from .errors import run_subcommands
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
    return run_subcommands(NAME, "Measure how well translations keep the music.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
