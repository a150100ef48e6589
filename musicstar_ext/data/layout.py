"""How the files of a collection of recordings are named: which piece and which track each of them is.

The default is StarNet as published (Zenodo 6917099): `starnet-p1/001.3.wav` is piece 001, strings and piano together.
Another collection is described by a JSON file; of MUSDB-like folders, for example (its mixtures are files too):

    {"domains": {"vocals-bass": ["vocals", "bass"], "violin-cello": ["violin", "cello"]},
     "files": {"vox": "vocals", "bass": "bass", "mix": "vocals-bass",
               "vln": "violin", "vc": "cello", "strings": "violin-cello"},
     "pattern": "{piece}/{file}.flac"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from musicstar_ext.errors import UserError

from .prepared import FILE_NAME, FULL_RATE

KEYS = ("domains", "files", "pattern")


@dataclass(frozen=True)
class Layout:
    """Names of files.

    Attributes:
        domains: {domain: stems}; stems at the same position of two domains play the same notes.
        files: {what stands for {file} in a name: track}, for every stem and every domain's mixture.
        pattern: the end of a file's path; {piece} stands for the name of the piece, {file} for a key of `files`.
    """

    domains: Mapping[str, list[str]]
    files: Mapping[str, str]
    pattern: str

    @property
    def tracks(self) -> list[str]:
        """Every track of a piece: each domain's stems, then its mixture."""
        return [track for domain, stems in self.domains.items() for track in (*stems, domain)]

    def match(self, path: PurePosixPath) -> tuple[str, str] | None:
        """The piece and the track that a path names, or None."""
        found = self._expression.fullmatch("/".join(path.parts[-1 - self.pattern.count("/") :]))
        if found is None or not FILE_NAME.fullmatch(found["piece"]) or found["piece"] == FULL_RATE:
            return None
        return found["piece"], self.files[found["file"]]

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        files = "|".join(re.escape(file) for file in sorted(self.files, key=len, reverse=True))
        expression = re.escape(self.pattern).replace(r"\{piece\}", "(?P<piece>[^/]+)")
        return re.compile(expression.replace(r"\{file\}", f"(?P<file>{files})"))


STARNET = Layout(
    domains={"strings-piano": ["strings", "piano"], "clarinet-vibraphone": ["clarinet", "vibraphone"]},
    files={
        "0": "clarinet-vibraphone",
        "1": "clarinet",
        "2": "vibraphone",
        "3": "strings-piano",
        "4": "strings",
        "5": "piano",
    },
    pattern="{piece}.{file}.wav",
)


def read_layout(path: Path) -> Layout:
    """Read and check a layout from its JSON file.

    Raises:
        UserError: what is wrong, naming the file.
    """

    def require(condition: bool, problem: str) -> None:
        if not condition:
            raise UserError(f"{path}: {problem}")

    found = read_json(path)
    require(isinstance(found, dict), "not a JSON object")
    missing, unknown = [key for key in KEYS if key not in found], [key for key in found if key not in KEYS]
    require(not missing, f"lacks {', '.join(missing)}")
    require(not unknown, f"has {', '.join(map(repr, unknown))}, which no layout has; it has {', '.join(KEYS)}")
    domains, files, pattern = (found[key] for key in KEYS)
    require(isinstance(domains, dict) and bool(domains), "domains must be a JSON object with at least one domain")
    for domain, stems in domains.items():
        is_list = isinstance(stems, list) and bool(stems) and all(isinstance(stem, str) for stem in stems)
        require(is_list, f"domain {domain!r} must list its stems")
    is_object = isinstance(files, dict) and all(isinstance(track, str) for track in files.values())
    require(is_object, "files must be a JSON object from what stands in file names to tracks")
    require(all(file and "/" not in file for file in files), "files: what stands in a file name has no '/'")
    require(isinstance(pattern, str), "pattern must be a text")
    for part in ("{piece}", "{file}"):
        require(pattern.count(part) == 1, f"pattern must have {part} once, such as {STARNET.pattern!r}")
    layout = Layout(domains, files, pattern)
    tracks = layout.tracks
    require(len(set(tracks)) == len(tracks), "two tracks have the same name")
    for track in tracks:
        require(FILE_NAME.fullmatch(track) is not None, f"{track!r} is not the name of a track")
        require(list(files.values()).count(track) == 1, f"files must name {track!r} once")
    for track in files.values():
        require(track in tracks, f"files names {track!r}, which is no domain and no stem of one")
    return layout


def read_json(path: Path) -> Any:
    """What a JSON file of the user holds. Raises UserError."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
