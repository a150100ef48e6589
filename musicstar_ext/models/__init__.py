"""The checkpoints that ship with the package, found by name; the card beside each says what it can and cannot do."""

from __future__ import annotations

from pathlib import Path

from musicstar_ext.errors import UserError

DEFAULT = "strings-piano_to_clarinet-vibraphone"
SUFFIX = ".safetensors"


def names() -> list[str]:
    """The shipped models, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob(f"*{SUFFIX}"))


def find(name_or_path: str | Path) -> Path:
    """Where a model lies: a shipped name, or else a path to a .safetensors file, which `checkpoints.load` checks.

    Raises:
        UserError: neither a shipped name nor anything that looks like a path; the message lists the shipped names.
    """
    text = str(name_or_path)
    if text in names():
        return Path(__file__).parent / f"{text}{SUFFIX}"
    path = Path(name_or_path)
    if path.suffix == SUFFIX or len(path.parts) > 1 or path.exists():
        return path
    shipped = ", ".join(names()) or "none in this installation"
    raise UserError(f"unknown model {text!r}; a path ends in {SUFFIX}, and the shipped models are: {shipped}")
