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
from numpy.typing import ArrayLike, NDArray

from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.level import LevelMeter

from .prepared import DESCRIPTION, FILE_NAME, FORMAT, FULL_RATE, NOTES, SPLITS, VERSION
from .wav import find_samples, write_wav

PIECE = "piece.json"
UNFINISHED = ".part"  # ending of the hidden folders in which pieces are written
AT_A_TIME = 800 * 1024  # samples of which a level is measured: bounded memory for long pieces


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
    folder: Path,
    name: str,
    tracks: Mapping[str, NDArray[np.int16]],
    sample_rate: int,
    details: Mapping[str, Any],
    notes: Mapping[str, ArrayLike] | None = None,
) -> dict[str, Any]:
    """Write one piece whole, in place of an earlier one of that name.

    Args:
        tracks: [samples] or [samples, 2] of every track, all of one shape. They are asked for one after the other, and
            no two are held at a time: a mapping may make each when it is asked for.
        details: what else its entry of `dataset.json` says: "split", and where it comes from.
        notes: {stem: [notes, 4]}, where they are known: start and duration in seconds, MIDI pitch, MIDI velocity.

    Returns:
        The entry of `dataset.json`: `details`, the number of samples and every track's level.

    Raises:
        UserError: the folder cannot be written, or something that is not a piece is in the way.
    """
    if not FILE_NAME.fullmatch(name) or name == FULL_RATE:
        raise UserError(f"{name!r} cannot be the name of a piece")
    place = folder / name
    if place.exists() and not (place / PIECE).is_file():
        raise UserError(f"{place}: is in the way, and not a piece that this command made")
    try:
        part = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}.", suffix=UNFINISHED))
        try:
            entry = {**details, **_write_tracks(part, tracks, sample_rate)}
            if notes is not None:
                rows = {
                    stem: np.asarray(of_stem, np.float64).reshape(-1, 4).tolist() for stem, of_stem in notes.items()
                }
                (part / NOTES).write_text(json.dumps(rows))
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


def _write_tracks(part: Path, tracks: Mapping[str, NDArray[np.int16]], sample_rate: int) -> dict[str, Any]:
    """Write each track; how long they all are, and their levels."""
    levels: dict[str, float | None] = {}
    shapes: set[tuple[int, ...]] = set()
    for track, samples in tracks.items():
        shapes.add(samples.shape)
        if len(shapes) != 1:
            raise ValueError(f"tracks of different shapes: {sorted(shapes)}")
        write_wav(part / f"{track}.wav", samples, sample_rate)
        levels[track] = finite_or_none(level_of(samples))
    (shape,) = shapes
    return {"samples": shape[0], "levels": levels}


def level_of(samples: NDArray[np.int16]) -> float:
    """Gated level in dBFS of [N] samples, or of the mean of [N, 2]; -inf for silence."""
    meter = LevelMeter()
    for start in range(0, len(samples), AT_A_TIME):
        block = samples[start : start + AT_A_TIME].astype(np.float32) / np.float32(32768)
        meter.update(block if block.ndim == 1 else block.mean(axis=1))
    return meter.dbfs


def read_whole_piece(folder: Path, name: str, tracks: list[str]) -> dict[str, Any] | None:
    """The entry of a piece that is there with all its tracks, or None."""
    try:
        entry = json.loads((folder / name / PIECE).read_bytes())
        whole = all(
            find_samples(folder / name / f"{track}.wav").count == entry["samples"] and track in entry["levels"]
            for track in tracks
        )
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    return entry if whole else None


def write_description(
    folder: Path,
    sample_rate: int,
    domains: Mapping[str, list[str]],
    pieces: Mapping[str, Mapping[str, Any]],
    made_by: Mapping[str, Any],
    channels: int = 1,
) -> None:
    """Write `dataset.json`, after which the set can be opened.

    Args:
        pieces: {name: what `write_piece` returned for it}.
        channels: 1 or 2, of every track.

    Raises:
        UserError: the folder cannot be written.
    """
    for details in pieces.values():
        if details["split"] not in SPLITS:
            raise ValueError(f"unknown split {details['split']!r}")
    tracks = [track for domain, stems in domains.items() for track in (*stems, domain)]
    description = {
        "format": FORMAT,
        "version": VERSION,
        "sample_rate": sample_rate,
        "channels": channels,
        "domains": dict(domains),
        "levels": {track: _mean_level(track, pieces) for track in tracks},
        "made_by": dict(made_by),
        "pieces": dict(pieces),
    }
    write_atomically(folder / DESCRIPTION, json.dumps(description, indent=1).encode())


def finite_or_none(level: float) -> float | None:
    """A level as JSON can hold it: None stands for silence, rounded to a thousandth of a decibel."""
    return round(level, 3) if math.isfinite(level) else None


def _mean_level(track: str, pieces: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Mean over the training pieces that are not silent (all pieces where none is for training)."""
    training = [piece for piece in pieces.values() if piece["split"] == "train"] or list(pieces.values())
    levels = [piece["levels"][track] for piece in training if piece["levels"][track] is not None]
    return round(sum(levels) / len(levels), 3) if levels else None
