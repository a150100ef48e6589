"""The prepared format: one folder a piece, one WAV a track, and `dataset.json` that says what they are.

    dataset.json
    0001-bwv66.6/
        strings.wav  piano.wav  strings-piano.wav  clarinet.wav  vibraphone.wav  clarinet-vibraphone.wav

        notes.json
    full-rate/
        dataset.json  0001-bwv66.6/  ...

A *domain* is a group of instruments that play together, a *stem* is one of them, and a *track* is a stem or a domain's
mixture. All tracks of a piece have one length. `dataset.json` names the domains and their stems: nothing here knows an
instrument, or how many play together.

| key | value |
|---|---|
| `format`, `version` | `musicstar_ext prepared set`, 2 |
| `sample_rate` | hertz, of every track |
| `channels` | 1 or 2, of every track |
| `domains` | {domain: [stems]}; stems at the same position of two domains play the same notes |
| `levels` | {track: dBFS}: gated level (`runtime.level`), mean of the training pieces; null: silence |
| `pieces` | {name: {"split", "samples" (of each channel), "levels", and what is known about where it comes from}} |
| `made_by` | what wrote it |

`notes.json` is there where the notes are known: {stem: [[start, duration, MIDI pitch, MIDI velocity], ...]}, in
seconds.
`full-rate`, where there is one, is the same set before it was brought down to the rate and the one channel that models
hear: a prepared set of its own with the same domains, pieces and splits.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError

from .wav import WavSamples, find_samples

FORMAT = "musicstar_ext prepared set"
VERSION = 2
DESCRIPTION = "dataset.json"
NOTES = "notes.json"
FULL_RATE = "full-rate"
SPLITS = ("train", "validation", "test")

FILE_NAME = re.compile(r"[\w][\w .,+()'-]*")  # neither hidden nor a path out of the folder


@dataclass(frozen=True)
class Piece:
    """One piece of music, as every track of the set."""

    name: str
    split: str
    samples: int
    details: Mapping[str, Any] = field(repr=False)
    _folder: Path = field(repr=False)
    _tracks: Mapping[str, WavSamples] = field(repr=False)

    def audio(self, track: str) -> NDArray[np.int16]:
        """The samples of a stem, or of a domain's mixture: a read-only memory map.

        Returns:
            [samples] int16; [samples, 2] in a set of two channels.

        Raises:
            UserError: there is no such track, or its file has gone.
        """
        if track not in self._tracks:
            raise UserError(f"piece {self.name!r} has no track {track!r}; it has {', '.join(self._tracks)}")
        return self._tracks[track].memory_map()

    def notes(self) -> dict[str, NDArray[np.float64]] | None:
        """The notes of each stem, where they are known; None where they are not.

        Returns:
            {stem: [notes, 4]}: start and duration in seconds, MIDI pitch, MIDI velocity.

        Raises:
            UserError: the file with the notes is damaged.
        """
        return read_notes(self._folder / NOTES, self._tracks)


class PreparedSet:
    """A folder in the prepared format, checked when it is opened: what `pieces` returns is whole.

    Attributes:
        sample_rate: hertz.
        channels: 1 or 2.
        domains: {domain: its stems}; stems at the same position correspond.
        levels: {track: mean gated level in dBFS}, -inf for silence.
        made_by: what wrote the set, as it says itself.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self.sample_rate: int = description["sample_rate"]
        self.channels: int = description["channels"]
        self.domains: dict[str, list[str]] = {name: list(stems) for name, stems in description["domains"].items()}
        self.levels: dict[str, float] = {
            track: -math.inf if level is None else float(level) for track, level in description["levels"].items()
        }
        self.made_by: dict[str, Any] = dict(description["made_by"])
        self._pieces = [self._piece(name, details) for name, details in description["pieces"].items()]
        _allow_open_files(len(self._pieces) * len(self.tracks))

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> PreparedSet:
        """Open a set, and check its description and the header and length of every file.

        Raises:
            UserError: what is missing or wrong, naming the file.
        """
        folder = Path(folder)
        return cls(folder, read_description(folder))

    @property
    def tracks(self) -> list[str]:
        """Every track of a piece: each domain's stems, then its mixture."""
        return [track for domain, stems in self.domains.items() for track in (*stems, domain)]

    def pieces(self, split: str) -> list[Piece]:
        """The pieces of "train", "validation" or "test", in the set's order.

        Raises:
            UserError: another split.
        """
        if split not in SPLITS:
            raise UserError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        return [piece for piece in self._pieces if piece.split == split]

    def full_rate(self) -> PreparedSet | None:
        """The same set at its full rate and in all its channels, where that was written too.

        Raises:
            UserError: the copy is damaged, or has other domains, pieces or splits.
        """
        folder = self.folder / FULL_RATE
        if not folder.exists():
            return None
        copy = PreparedSet.open(folder)
        if copy.domains != self.domains:
            raise UserError(f"{folder}: has other domains than {self.folder}")
        splits = {piece.name: piece.split for piece in self._pieces}
        copied = {piece.name: piece.split for piece in copy._pieces}
        for name in (*splits, *copied):
            if splits.get(name) != copied.get(name):
                where = "another split" if name in splits and name in copied else "one of the two sets only"
                raise UserError(f"{folder}: piece {name!r} is in {where}; make the set again")
        return copy

    def _piece(self, name: str, details: Mapping[str, Any]) -> Piece:
        samples = details["samples"]
        tracks = {track: find_samples(self.folder / name / f"{track}.wav") for track in self.tracks}
        for wav in tracks.values():
            if wav.sample_rate != self.sample_rate:
                raise UserError(f"{wav.path}: has {wav.sample_rate} Hz, the set has {self.sample_rate} Hz")
            if wav.channels != self.channels:
                raise UserError(f"{wav.path}: number of channels is {wav.channels}, the set's is {self.channels}")
            if wav.count != samples:
                raise UserError(f"{wav.path}: has {wav.count} samples, {DESCRIPTION} says {samples}")
        return Piece(name, details["split"], samples, dict(details), self.folder / name, tracks)


def read_description(folder: Path) -> dict[str, Any]:
    """What `dataset.json` of a set's folder says; its keys are checked, the pieces' files are not.

    Raises:
        UserError: what is missing or wrong, naming the file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    path = folder / DESCRIPTION
    try:
        description = _read_json(path)
    except FileNotFoundError:
        raise UserError(f"{folder}: not a prepared set, or not finished yet: it has no {DESCRIPTION}") from None
    _check(path, description)
    return dict(description)


def read_notes(path: Path, tracks: Iterable[str] | None = None) -> dict[str, NDArray[np.float64]] | None:
    """The notes of a `notes.json`, {stem: [notes, 4]}; None where there is no such file.

    Args:
        tracks: those that the set has, where that is to be checked.

    Raises:
        UserError: the file is damaged.
    """
    try:
        stems = _read_json(path)
    except FileNotFoundError:
        return None
    if not isinstance(stems, dict):
        raise UserError(f"{path}: not a JSON object")
    notes: dict[str, NDArray[np.float64]] = {}
    for stem, rows in stems.items():
        if tracks is not None and stem not in tracks:
            raise UserError(f"{path}: has notes of {stem!r}, which the set does not have")
        if not isinstance(rows, list) or not all(_is_note(row) for row in rows):
            raise UserError(f"{path}: {stem!r} must list notes as [start, duration, MIDI pitch, MIDI velocity]")
        notes[stem] = np.array(rows, np.float64).reshape(-1, 4)
    return notes


def _read_json(path: Path) -> Any:
    """What a JSON file holds. Raises FileNotFoundError, else UserError."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def _check(path: Path, description: Any) -> None:
    """Raises UserError where `dataset.json` is not what the module's table says."""

    def require(condition: bool, problem: str) -> None:
        if not condition:
            raise UserError(f"{path}: {problem}")

    require(isinstance(description, dict), "not a JSON object")
    require(description.get("format") == FORMAT, "not the description of a prepared set")
    version = description.get("version")
    require(version == VERSION, f"format version {version!r}, this version of the package reads {VERSION}")
    rate = description.get("sample_rate")
    require(_is_count(rate) and rate > 0, f"sample_rate must be a positive integer, not {rate!r}")
    channels = description.get("channels")
    require(_is_count(channels) and channels in (1, 2), f"channels must be 1 or 2, not {channels!r}")
    domains = description.get("domains")
    require(isinstance(domains, dict) and bool(domains), "domains must be a JSON object with at least one domain")
    names: list[str] = []
    for domain, stems in domains.items():
        is_list = isinstance(stems, list) and bool(stems) and all(isinstance(stem, str) for stem in stems)
        require(is_list, f"domain {domain!r} must list its stems")
        names += [*stems, domain]
    require(len(set(names)) == len(names), "two tracks have the same name")
    levels = description.get("levels")
    known = isinstance(levels, dict) and levels.keys() == set(names)
    require(known and all(_is_level(level) for level in levels.values()), "levels must give a number for each track")
    require(isinstance(description.get("made_by"), dict), "made_by must be a JSON object")
    pieces = description.get("pieces")
    require(isinstance(pieces, dict), "pieces must be a JSON object")
    for name, details in pieces.items():
        require(isinstance(details, dict), f"piece {name!r} must be a JSON object")
        split, samples = details.get("split"), details.get("samples")
        require(split in SPLITS, f"piece {name!r}: split must be one of {', '.join(SPLITS)}, not {split!r}")
        require(_is_count(samples), f"piece {name!r}: samples must be a number of samples, not {samples!r}")
    for name in (*names, *pieces):
        require(FILE_NAME.fullmatch(name) is not None, f"{name!r} is not the name of a track or piece")
    require(FULL_RATE not in pieces, f"{FULL_RATE!r} is not the name of a piece")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_level(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_note(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 4 or not all(_is_number(value) for value in row):
        return False
    start, duration, pitch, velocity = row
    return bool(start >= 0 and duration >= 0 and 0 <= pitch <= 127 and 0 <= velocity <= 127)


def _allow_open_files(count: int) -> None:
    """Let this process hold `count` memory maps: Python keeps a file open behind each; 1024 is a usual limit."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
