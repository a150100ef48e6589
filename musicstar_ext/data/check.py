"""What is wrong with a prepared set: every problem, not only the first."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from musicstar_ext.errors import UserError

from .check_piece import CheckedPiece, check_piece
from .prepared import DESCRIPTION, FULL_RATE, SPLITS, read_description
from .wav import find_samples
from .workers import working

FAR_LEVEL = 15.0  # dB from the mean of its track
MOST_DRIFT = 1.5  # samples at the set's rate between the length of a piece and of its full-rate copy


@dataclass
class CheckReport:
    """What a check came to.

    Attributes:
        problems: a line each, that begins with what it is about.
        pieces, hours: {split: of it}.
        levels: {track: its pieces' lowest, mean and highest gated level in dBFS}, for tracks that are not silent.
        clipped: {track: share of its samples at full scale}.
        with_notes: pieces that have notes.
        full_rate: whether there is a full-rate copy.
    """

    problems: list[str] = field(default_factory=list)
    pieces: dict[str, int] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)
    levels: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    clipped: dict[str, float] = field(default_factory=dict)
    with_notes: int = 0
    full_rate: bool = False


def check_set(folder: Path, jobs: int = 1) -> CheckReport:
    """Look at every sample of a set.

    Raises:
        UserError: there is no set, or its `dataset.json` cannot be understood.
    """
    description = read_description(folder)
    entries: dict[str, dict[str, Any]] = description["pieces"]
    report = CheckReport()
    rate = description["sample_rate"]
    for split in SPLITS:
        samples = [entry["samples"] for entry in entries.values() if entry["split"] == split]
        report.pieces[split], report.hours[split] = len(samples), sum(samples) / rate / 3600
        if not samples:
            report.problems.append(f"split {split!r}: has no pieces")
        elif not sum(samples):
            report.problems.append(f"split {split!r}: its pieces have no samples")
    checked = _check_pieces(folder, description, jobs)
    for name in entries:
        report.problems += [f"piece {name!r}: {problem}" for problem in checked[name].problems]
    report.with_notes = sum(piece.has_notes for piece in checked.values())
    if report.with_notes:
        without = [name for name, piece in checked.items() if not piece.has_notes]
        report.problems += [f"piece {name!r}: has no notes, and other pieces have" for name in without]
    report.problems += _repeated(entries, checked)
    for track in (track for domain, stems in description["domains"].items() for track in (*stems, domain)):
        _summarise(track, checked, report)
    report.full_rate = (folder / FULL_RATE).exists()
    if report.full_rate:
        report.problems += _check_copy(folder / FULL_RATE, description)
    return report


def _check_pieces(folder: Path, description: Mapping[str, Any], jobs: int) -> dict[str, CheckedPiece]:
    entries = description["pieces"]
    kind = (description["sample_rate"], description["channels"], description["domains"])
    checked: dict[str, CheckedPiece] = {}
    with working(jobs) as workers, tqdm(desc="checking", total=len(entries), unit="piece") as bar:
        names = {}
        for name, entry in entries.items():
            levels = entry.get("levels")
            known = levels if isinstance(levels, dict) else None
            names[workers.submit(check_piece, folder / name, entry["samples"], *kind, known)] = name
            if jobs == 1:
                bar.update()
        for future in as_completed(names):
            checked[names[future]] = future.result()
            if jobs > 1:
                bar.update()
    return checked


def _repeated(entries: Mapping[str, Mapping[str, Any]], checked: Mapping[str, CheckedPiece]) -> list[str]:
    """Pieces that share the samples of a track: worst where one is to be learned from and one is to test with."""
    holders: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in entries:
        for track, digest in checked[name].hashes.items():
            holders[digest].append((name, track))
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    problems = []
    for found in holders.values():
        first, track = found[0]
        for name, other in found[1:]:
            if name == first:
                problems.append(f"piece {name!r}: {track} and {other} are the same recording")
            else:
                pairs[first, name].append(track)
    for (first, second), tracks in pairs.items():
        splits = [entries[name]["split"] for name in (first, second)]
        where = f"both in {splits[0]!r}" if splits[0] == splits[1] else f"in {splits[0]!r} and in {splits[1]!r}"
        problems.append(f"pieces {first!r} and {second!r}, {where}, have the same {', '.join(tracks)}")
    return problems


def _summarise(track: str, checked: Mapping[str, CheckedPiece], report: CheckReport) -> None:
    """A track's levels and clipping in all pieces, and the pieces that are far from the others."""
    levels = {name: piece.levels[track] for name, piece in checked.items() if track in piece.hashes}
    if not levels:
        return
    mean = sum(levels.values()) / len(levels)
    report.levels[track] = (min(levels.values()), mean, max(levels.values()))
    shares = [piece.clipped[track] for piece in checked.values() if track in piece.clipped]
    report.clipped[track] = sum(shares) / len(shares)
    for name, level in levels.items():
        if math.fabs(level - mean) > FAR_LEVEL:
            what = f"its level is {level:.1f} dBFS, the mean of all pieces is {mean:.1f}"
            report.problems.append(f"piece {name!r}: {track}: {what}")


def _check_copy(folder: Path, original: Mapping[str, Any]) -> list[str]:
    """Whether the full-rate copy has the same pieces, and tracks of the right kind and length."""
    try:
        copy = read_description(folder)
    except UserError as error:
        return [str(error)]
    problems = []
    if copy["domains"] != original["domains"]:
        problems.append(f"{FULL_RATE}: has other domains than the set")
    if copy["sample_rate"] <= original["sample_rate"]:
        problems.append(f"{FULL_RATE}: has {copy['sample_rate']} Hz, the set itself {original['sample_rate']} Hz")
    pieces, copied = original["pieces"], copy["pieces"]
    problems += [f"{FULL_RATE}: lacks piece {name!r}" for name in pieces if name not in copied]
    problems += [f"{FULL_RATE}: has a piece {name!r}, which the set lacks" for name in copied if name not in pieces]
    for name in (name for name in pieces if name in copied):
        if copied[name]["split"] != pieces[name]["split"]:
            problems.append(f"{FULL_RATE}: piece {name!r} is in another split than in the set")
        expected = copied[name]["samples"] * original["sample_rate"] / copy["sample_rate"]
        if abs(expected - pieces[name]["samples"]) > MOST_DRIFT:
            problems.append(f"{FULL_RATE}: piece {name!r} has another length than in the set")
        for track in (track for domain, stems in copy["domains"].items() for track in (*stems, domain)):
            try:
                wav = find_samples(folder / name / f"{track}.wav")
            except UserError as error:
                problems.append(str(error))
                continue
            found = (wav.sample_rate, wav.channels, wav.count)
            if found != (copy["sample_rate"], copy["channels"], copied[name]["samples"]):
                problems.append(f"{wav.path}: is not of the kind that {FULL_RATE}/{DESCRIPTION} says")
    return problems
