"""`python -m musicstar_ext.features`: get the networks that features come from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from musicstar_ext.errors import CommandParser, UserError, run_command
from musicstar_ext.runtime.audio_writing import check_writable

from .musicnn_weights import installed_package, read_package, save

NAME = "musicstar_ext.features"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 2 bad input or arguments, 130 Ctrl-C."""
    return run_command(lambda: _convert(build_parser().parse_args(arguments)), NAME)


def build_parser() -> CommandParser:
    parser = CommandParser(prog=f"python -m {NAME}", description="Networks that features of recordings come from.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    convert = commands.add_parser(
        "convert-musicnn",
        help="convert the weights of musicnn's VGG",
        description="Convert the weights in the PyPI package musicnn (ISC licence) into a safetensors file; neither "
        "TensorFlow nor the package itself has to work. This is how the shipped file was made.",
    )
    convert.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="of the package (the installed one)")
    convert.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="a .safetensors file")
    return parser


def _convert(options: argparse.Namespace) -> None:
    if options.output.suffix != ".safetensors":
        raise UserError(f"{options.output}: the name must end in .safetensors")
    check_writable(options.output)
    folder = options.folder or installed_package()
    if folder is None:
        raise UserError("the package musicnn is not installed: pip install --no-deps musicnn, or name its folder")
    save(read_package(folder), options.output)
    print(f"{options.output}: the weights of musicnn's VGG, from {folder}")


if __name__ == "__main__":
    sys.exit(main())
