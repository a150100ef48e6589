"""The prepared format: one folder a piece, one WAV a track, and `dataset.json` that says what they are.

    dataset.json
    0001-bwv66.6/
        strings.wav  piano.wav  strings-piano.wav  clarinet.wav  vibraphone.wav  clarinet-vibraphone.wav

A *domain* is a group of instruments that play together, a *stem* is one of them, and a *track* is a stem or a domain's
mixture. All tracks of a piece have one length. `dataset.json` names the domains and their stems: nothing here knows an
instrument.

| key | value |
|---|---|
| `format`, `version` | `musicstar_ext prepared set`, 1 |
| `sample_rate` | hertz, of every track |
| `domains` | {domain: [stems]}; stems at the same position of two domains play the same notes |
| `levels` | {domain: dBFS}: the mixtures' gated level (`runtime.level`), mean of the training pieces; null: silence |
| `pieces` | {name: {"split", "samples", and what is known about where it comes from}} |
| `made_by` | what wrote it |
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError

from .wav import WavSamples, find_samples

FORMAT = "musicstar_ext prepared set"
VERSION = 1
DESCRIPTION = "dataset.json"
SPLITS = ("train", "validation", "test")

_FILE_NAME = re.compile(r"[\w][\w .,+()'-]*")  # neither hidden nor a path out of the folder


@dataclass(frozen=True)
class Piece:
    """One piece of music, as every track of the set."""

    name: str
    split: str
    samples: int
    details: Mapping[str, Any] = field(repr=False)
    _tracks: Mapping[str, WavSamples] = field(repr=False)

    def audio(self, track: str) -> NDArray[np.int16]:
        """The samples of a stem, or of a domain's mixture: [samples] int16, a read-only memory map.

        Raises:
            UserError: there is no such track, or its file has gone.
        """
        if track not in self._tracks:
            raise UserError(f"piece {self.name!r} has no track {track!r}; it has {', '.join(self._tracks)}")
        return self._tracks[track].memory_map()


class PreparedSet:
    """A folder in the prepared format, checked when it is opened: what `pieces` returns is whole.

    Attributes:
        sample_rate: hertz.
        domains: {domain: its stems}; stems at the same position correspond.
        levels: {domain: mean gated level of its mixtures in dBFS}, -inf for silence.
        made_by: what wrote the set, as it says itself.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self.sample_rate: int = description["sample_rate"]
        self.domains: dict[str, list[str]] = {name: list(stems) for name, stems in description["domains"].items()}
        self.levels: dict[str, float] = {
            domain: -math.inf if level is None else float(level) for domain, level in description["levels"].items()
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
        if not folder.is_dir():
            raise UserError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
        path = folder / DESCRIPTION
        try:
            description = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{folder}: not a prepared set, or not finished yet: it has no {DESCRIPTION}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not JSON ({error})") from None
        _check(path, description)
        return cls(folder, description)

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

    def _piece(self, name: str, details: Mapping[str, Any]) -> Piece:
        samples = details["samples"]
        tracks = {track: find_samples(self.folder / name / f"{track}.wav") for track in self.tracks}
        for wav in tracks.values():
            if wav.sample_rate != self.sample_rate:
                raise UserError(f"{wav.path}: has {wav.sample_rate} Hz, the set has {self.sample_rate} Hz")
            if wav.count != samples:
                raise UserError(f"{wav.path}: has {wav.count} samples, {DESCRIPTION} says {samples}")
        return Piece(name, details["split"], samples, dict(details), tracks)


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
    domains = description.get("domains")
    require(isinstance(domains, dict) and bool(domains), "domains must be a JSON object with at least one domain")
    names: list[str] = []
    for domain, stems in domains.items():
        is_list = isinstance(stems, list) and bool(stems) and all(isinstance(stem, str) for stem in stems)
        require(is_list, f"domain {domain!r} must list its stems")
        names += [*stems, domain]
    require(len(set(names)) == len(names), "two tracks have the same name")
    levels = description.get("levels")
    known = isinstance(levels, dict) and levels.keys() == domains.keys()
    require(known and all(_is_level(level) for level in levels.values()), "levels must give a number for each domain")
    require(isinstance(description.get("made_by"), dict), "made_by must be a JSON object")
    pieces = description.get("pieces")
    require(isinstance(pieces, dict), "pieces must be a JSON object")
    for name, details in pieces.items():
        require(isinstance(details, dict), f"piece {name!r} must be a JSON object")
        split, samples = details.get("split"), details.get("samples")
        require(split in SPLITS, f"piece {name!r}: split must be one of {', '.join(SPLITS)}, not {split!r}")
        require(_is_count(samples), f"piece {name!r}: samples must be a number of samples, not {samples!r}")
    for name in (*names, *pieces):
        require(_FILE_NAME.fullmatch(name) is not None, f"{name!r} is not the name of a track or piece")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_level(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value))


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
