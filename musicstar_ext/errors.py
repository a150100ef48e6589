"""The one exception that reaches users, and how every command reports it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn


class UserError(Exception):
    """The input or the arguments are at fault; the message is one line that names what and why."""


class MissingExtraError(UserError):
    """An optional dependency is needed; the message says which extra brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs {package}: pip install 'musicstar-ext[{extra}]'")


class CommandParser(argparse.ArgumentParser):
    """An argparse parser whose errors are UserErrors: one line, without the usage. Parse inside `run_command`."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help lists the options)")


def report_error(error: UserError, name: str) -> None:
    """One line on stderr, even where a file's name holds line breaks."""
    print(f"{name}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)


def run_subcommands(
    name: str, description: str, commands: Iterable[Any], arguments: Sequence[str] | None = None
) -> int:
    """A command line of subcommands; returns its exit status, as `run_command`.

    Args:
        name: of the module that `python -m` runs.
        commands: modules whose `add_to(subparsers)` adds a parser; its default `run` takes the parsed options and
            returns the exit status, or None.
    """

    def run() -> int | None:
        parser = CommandParser(prog=f"python -m {name}", description=description)
        subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for command in commands:
            command.add_to(subparsers)
        options = parser.parse_args(arguments)
        status: int | None = options.run(options)
        return status

    return run_command(run, name)


def run_command(command: Callable[[], int | None], name: str) -> int:
    """Run a command line's body and turn its outcome into the exit status of DESIGN: 0 done, 2 bad input, 130 Ctrl-C.

    Anything but a UserError is a bug and keeps its traceback (exit status 1 by Python itself).
    """
    try:
        return command() or 0
    except UserError as error:
        report_error(error, name)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
