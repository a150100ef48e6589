"""`python -m musicstar_ext.evaluate`: its help costs no optional library."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "librosa", "essentia", "sklearn", "matplotlib", "mir_eval", "scipy", "numba")


def test_help_lists_the_commands_without_importing_what_only_some_of_them_need():
    code = f"""
import sys
from musicstar_ext.evaluate import main
try:
    main(["--help"])
except SystemExit:
    pass
print("imported:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "imported: []" in done.stdout
    for command in ("pair", "frechet", "train-style"):
        assert command in done.stdout
