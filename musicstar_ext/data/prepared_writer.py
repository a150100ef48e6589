"""Writing the prepared format: pieces appear whole, `dataset.json` comes last.

A piece is written into a hidden folder and renamed. Beside its tracks it keeps `piece.json`, its entry of
`dataset.json`: a later run sees there whether the piece can be kept.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.checkpoints import write_atomically
from musicstar_ext.errors import UserError

from .prepared import DESCRIPTION, FORMAT, SPLITS, VERSION
from .wav import find_samples, write_wav

PIECE = "piece.json"
UNFINISHED = ".part"  # ending of the hidden folders in which pieces are written


def make_output_folder(folder: Path) -> None:
    """Make the folder of a set, and find out that it can be written; leftovers of a killed run are removed.

    Raises:
        UserError: `folder` is a file, or cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise UserError(f"{folder}: is a file, the output must be a folder") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    remove_unfinished(folder)


def remove_unfinished(folder: Path) -> None:
    """Remove the half-written pieces of a killed run."""
    for path in folder.glob(f".*{UNFINISHED}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def write_piece(
    folder: Path, name: str, tracks: Mapping[str, NDArray[np.int16]], sample_rate: int, details: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one piece whole, in place of an earlier one of that name.

    Args:
        tracks: [samples] of every track, all of one length.
        details: its entry of `dataset.json`, without the number of samples.

    Returns:
        The entry of `dataset.json`.

    Raises:
        UserError: the folder cannot be written, or something that is not a piece is in the way.
    """
    lengths = {len(samples) for samples in tracks.values()}
    if len(lengths) != 1:
        raise ValueError(f"tracks of different lengths: {sorted(lengths)}")
    place = folder / name
    if place.exists() and not (place / PIECE).is_file():
        raise UserError(f"{place}: is in the way, and not a piece that this command made")
    entry = {**details, "samples": lengths.pop()}
    try:
        part = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}.", suffix=UNFINISHED))
        try:
            for track, samples in tracks.items():
                write_wav(part / f"{track}.wav", samples, sample_rate)
            (part / PIECE).write_text(json.dumps(entry, indent=1))
            part.chmod(0o755)
            if place.exists():
                shutil.rmtree(place)
            os.replace(part, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{place}: cannot be written: {error.strerror or error}") from None
    return entry


def read_whole_piece(folder: Path, name: str, tracks: list[str]) -> dict[str, Any] | None:
    """The entry of a piece that is there with all its tracks, or None."""
    try:
        entry = json.loads((folder / name / PIECE).read_bytes())
        whole = all(find_samples(folder / name / f"{track}.wav").count == entry["samples"] for track in tracks)
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    return entry if whole else None


def write_description(
    folder: Path,
    sample_rate: int,
    domains: Mapping[str, list[str]],
    pieces: Mapping[str, Mapping[str, Any]],
    made_by: Mapping[str, Any],
) -> None:
    """Write `dataset.json`, after which the set can be opened. Every piece has `levels`: {domain: dBFS or None}.

    Raises:
        UserError: the folder cannot be written.
    """
    for details in pieces.values():
        if details["split"] not in SPLITS:
            raise ValueError(f"unknown split {details['split']!r}")
    description = {
        "format": FORMAT,
        "version": VERSION,
        "sample_rate": sample_rate,
        "domains": dict(domains),
        "levels": {domain: _mean_level(domain, pieces) for domain in domains},
        "made_by": dict(made_by),
        "pieces": dict(pieces),
    }
    write_atomically(folder / DESCRIPTION, json.dumps(description, indent=1).encode())


def finite_or_none(level: float) -> float | None:
    """A level as JSON can hold it: None stands for silence, rounded to a thousandth of a decibel."""
    return round(level, 3) if math.isfinite(level) else None


def _mean_level(domain: str, pieces: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Mean over the training pieces that are not silent (all pieces where none is for training)."""
    training = [piece for piece in pieces.values() if piece["split"] == "train"] or list(pieces.values())
    levels = [piece["levels"][domain] for piece in training if piece["levels"][domain] is not None]
    return round(sum(levels) / len(levels), 3) if levels else None
