"""Notes: those that were really played, those found in a recording, and how many of the former are among the latter.

Found notes come from a simple tracker over the multi-pitch frames, which hears about a quarter of the notes of two
instruments (on rendered recordings, whose notes are known: precision 0.5 to 0.6, recall 0.25; how short a run may be
hardly matters). So the scores are low even for the true recording: they are to be read beside its own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.data import prepared
from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

from .pitch import HOP, REFERENCE_HZ, REFERENCE_PITCH, frame_times
from .recording import RATE

Notes = NDArray[np.float64]
"""[N, 3]: start and end in seconds, MIDI pitch."""

SHORTEST = 6  # frames (48 ms) that a pitch must sound to be a note
ONSET_TOLERANCE = 0.05  # seconds: mir_eval's default, as in MIREX


def track_notes(frames: Sequence[Set[int]]) -> Notes:
    """Notes in a sequence of pitch sets: each run of at least 48 ms in which a pitch is in every frame's set."""
    sounding: dict[int, list[int]] = {}
    for index, pitches in enumerate(frames):
        for pitch in pitches:
            sounding.setdefault(pitch, []).append(index)
    notes = []
    for pitch, indices in sounding.items():
        breaks = [i for i in range(1, len(indices)) if indices[i] - indices[i - 1] > 1]
        for first, end in zip([0, *breaks], [*breaks, len(indices)], strict=True):
            start, stop = indices[first], indices[end - 1] + 1
            if stop - start >= SHORTEST:
                notes.append((start * HOP / RATE, stop * HOP / RATE, float(pitch)))
    return np.array(sorted(notes), np.float64).reshape(-1, 3)


def note_scores(found: Notes, true: Notes) -> dict[str, float]:
    """Precision, recall and F-measure of notes whose pitch is right and whose start is within 50 ms (mir_eval).

    Two empty lists agree; where one is empty, all three are 0.
    """
    if not len(found) or not len(true):
        value = float(len(found) == len(true))
        return {"precision": value, "recall": value, "f": value}
    transcription = extra_module("mir_eval.transcription")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f, _ = transcription.precision_recall_f1_overlap(
            true[:, :2],
            pitch_to_hertz(true[:, 2]),
            found[:, :2],
            pitch_to_hertz(found[:, 2]),
            onset_tolerance=ONSET_TOLERANCE,
            offset_ratio=None,
        )
    return {"precision": float(precision), "recall": float(recall), "f": float(f)}


def pitch_scores(found: Sequence[NDArray], true: Sequence[NDArray]) -> dict[str, float]:
    """Multi-pitch precision, recall and accuracy (Poliner and Ellis 2007; mir_eval), within half a semitone.

    Accuracy is TP / (TP + FP + FN) summed over all frames, so frames with many pitches count more; `chroma_accuracy`
    folds octaves. Two recordings in which nothing sounds agree.

    Args:
        found, true: for each frame the frequencies in hertz.

    Raises:
        UserError: the numbers of frames differ.
    """
    if len(found) != len(true):
        raise UserError(f"{len(found)} frames cannot be compared with {len(true)}")
    silent = [not any(len(frame) for frame in frames) for frames in (found, true)]
    if any(silent):
        value = float(all(silent))
        return {"precision": value, "recall": value, "accuracy": value, "chroma_accuracy": value}
    times = frame_times(len(true))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = extra_module("mir_eval.multipitch").metrics(times, _distinct(true), times, _distinct(found))
    return {
        "precision": float(values[0]),
        "recall": float(values[1]),
        "accuracy": float(values[2]),
        "chroma_accuracy": float(values[9]),
    }


def sounding_frequencies(notes: Notes, frames: int) -> list[NDArray[np.float64]]:
    """The frequencies of the notes that sound in each of the first `frames` frames, as `pitch_scores` takes them."""
    sounding: list[set[float]] = [set() for _ in range(frames)]
    for start, end, pitch in notes:
        first, last = math.ceil(start * RATE / HOP), math.ceil(end * RATE / HOP)
        for index in range(max(0, first), min(frames, last)):
            sounding[index].add(pitch)
    return [pitch_to_hertz(np.array(sorted(pitches))) for pitches in sounding]


def pitch_to_hertz(pitches: NDArray[np.float64]) -> NDArray[np.float64]:
    return REFERENCE_HZ * 2.0 ** ((pitches - REFERENCE_PITCH) / 12)


def true_notes(stems: Mapping[str, NDArray], chosen: Sequence[str] = (), seconds: float = math.inf) -> Notes:
    """The notes of some stems (all, if none are chosen) that start before `seconds`, each once.

    Args:
        stems: {stem: [N, 4]: start and duration in seconds, MIDI pitch, velocity}, as `data.prepared.Piece.notes`.

    Raises:
        UserError: a chosen stem is not there.
    """
    for name in chosen:
        if name not in stems:
            raise UserError(f"no notes of {name!r}; there are notes of {', '.join(stems) or 'nothing'}")
    played = {
        (float(start), float(min(start + duration, seconds)), float(pitch))
        for name in chosen or stems
        for start, duration, pitch, _ in stems[name]
        if duration > 0 and start < seconds
    }
    return np.array(sorted(played), np.float64).reshape(-1, 3)


def read_notes(path: Path) -> dict[str, NDArray[np.float64]]:
    """The notes of a prepared piece's `notes.json`: {stem: [N, 4]}, start, duration (seconds), MIDI pitch, velocity.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    notes = prepared.read_notes(path)
    if notes is None:
        raise UserError(f"{path}: no such file")
    return notes


def _distinct(frames: Sequence[NDArray]) -> list[NDArray[np.float64]]:
    return [np.unique(np.asarray(frame, np.float64)) for frame in frames]


def check_mir_eval() -> None:
    """Raises MissingExtraError where mir_eval is not installed."""
    extra_module("mir_eval")
