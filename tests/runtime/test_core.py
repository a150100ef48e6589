"""A missing or foreign compiled module: an ImportError in Python, one line and exit status 2 in a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "missing": ("raise ImportError('not built')", "cannot be imported (not built): pip install ."),
    "of another version": ("__version__ = '0.0.0'", "has version 0.0.0, not"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_compiled_module_must_fit(case: str, tmp_path: Path) -> None:
    source, message = CASES[case]
    (tmp_path / "_musicstar_core.py").write_text(source + "\n")
    (tmp_path / "in.wav").write_bytes(b"")
    search = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    program = "import musicstar_ext\ntry:\n    musicstar_ext.load\nexcept ImportError as error:\n    print(error)"
    assert message in python("-c", program).stdout
    command = python("-m", "musicstar_ext.translate", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"))
    assert command.returncode == 2
    assert message in command.stderr
    assert command.stderr.count("\n") == 1
