"""A recipe run as its command, in this process: one of its own would spend seconds on importing PyTorch."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def run_recipe(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What `python recipes/NAME.py ARGUMENTS` prints, and its exit status."""
    command = [str(RECIPES / f"{name}.py"), *map(str, arguments)]
    output, error = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", command),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(error),
    ):
        try:
            runpy.run_path(command[0], run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code
    return subprocess.CompletedProcess(command, status, output.getvalue(), error.getvalue())
