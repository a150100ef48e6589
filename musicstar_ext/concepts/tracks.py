"""Which tracks belong to which concepts, as users say it: a folder of folders, or a CSV.

* A folder of folders: a folder a concept, its audio files (in sub-folders too) the concept's tracks.
* A CSV `track,concept[,cluster[,split]]`, one line for each track of each concept, with or without a first line of
  those names. A track's path starts at the CSV's folder. `cluster` is the known group of the concept, `split` one of
  train, validation and test, where the parts are not to be drawn at random.

A recording that appears twice, under whatever name, is one track: its copies must not be both learned from and tested
on.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from musicstar_ext.data.prepared import SPLITS
from musicstar_ext.errors import UserError

AUDIO = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus", ".w64", ".au"})
COLUMNS = ("track", "concept", "cluster", "split")
LARGEST_TABLE = 1 << 28  # bytes

Warn = Callable[[str], None]


@dataclass
class Track:
    """A recording: where it lies, what it is called, the concepts it belongs to, and its split where one is given."""

    path: Path
    name: str
    concepts: set[str] = field(default_factory=set)
    split: str = ""


@dataclass
class Labels:
    """Tracks, and what is known about the concepts: `clusters` {concept: group}."""

    tracks: list[Track]
    clusters: dict[str, str] = field(default_factory=dict)

    @property
    def concepts(self) -> list[str]:
        return sorted({concept for track in self.tracks for concept in track.concepts})


def read_labels(path: Path, warn: Warn) -> Labels:
    """The tracks of a folder or a CSV; files that are missing, empty or there twice are told to `warn`.

    Raises:
        UserError: it is neither, cannot be read, or has no tracks.
    """
    if path.is_dir():
        labels = _from_folder(path, warn)
    elif path.exists():
        labels = _from_table(path, warn)
    else:
        raise UserError(f"{path}: no such file or folder")
    labels.tracks = _without_copies(labels.tracks, warn)
    if not labels.tracks:
        raise UserError(f"{path}: has no tracks")
    return labels


def read_tree(path: Path) -> dict[str, str]:
    """A CSV `child,parent`, with or without a first line of those names: {child: parent}.

    Raises:
        UserError: it cannot be read, a line is not two names, a child has two parents, or there is a cycle.
    """
    parents: dict[str, str] = {}
    for number, row in _rows(path, ("child", "parent")):
        if len(row) != 2 or not all(row):
            raise UserError(f"{path}: line {number}: must be child,parent")
        child, parent = row
        if parents.setdefault(child, parent) != parent:
            raise UserError(f"{path}: line {number}: {child!r} has two parents, {parents[child]!r} and {parent!r}")
    for child in parents:
        seen, place = {child}, parents[child]
        while place in parents and place not in seen:
            seen.add(place)
            place = parents[place]
        if place in seen:
            raise UserError(f"{path}: {child!r} is its own ancestor, or below one that is")
    return parents


def _from_folder(folder: Path, warn: Warn) -> Labels:
    tracks = []
    try:
        places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror or error}") from None
    for place in places:
        files = sorted(path for path in place.rglob("*") if path.suffix.lower() in AUDIO and path.is_file())
        if not files:
            warn(f"{place}: a concept without audio files is left out")
        tracks += [Track(path, path.relative_to(folder).as_posix(), {place.name}) for path in files]
    return Labels(tracks)


def _from_table(path: Path, warn: Warn) -> Labels:
    tracks: dict[str, Track] = {}
    clusters: dict[str, str] = {}
    for number, row in _rows(path, COLUMNS):
        if not 2 <= len(row) <= len(COLUMNS) or not row[0] or not row[1]:
            raise UserError(f"{path}: line {number}: must be {','.join(COLUMNS[:2])}[,{'[,'.join(COLUMNS[2:])}]]")
        name, concept, cluster, split = (*row, "", "")[: len(COLUMNS)]
        if split and split not in SPLITS:
            raise UserError(f"{path}: line {number}: split must be one of {', '.join(SPLITS)}, not {split!r}")
        try:
            track = tracks.setdefault(name, Track(path.parent / name, name))
        except ValueError:
            raise UserError(f"{path}: line {number}: {name!r} is not a path") from None
        if concept in track.concepts:
            warn(f"{path}: line {number}: {name} belongs to {concept!r} already")
        track.concepts.add(concept)
        if split and track.split and split != track.split:
            raise UserError(f"{path}: line {number}: {name} is in the splits {track.split} and {split}")
        track.split = track.split or split
        if cluster and clusters.setdefault(concept, cluster) != cluster:
            raise UserError(
                f"{path}: line {number}: {concept!r} has two clusters, {clusters[concept]!r} and {cluster!r}"
            )
    return Labels(list(tracks.values()), clusters)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterable[tuple[int, list[str]]]:
    """Line numbers and stripped cells, without empty lines and the line of names."""
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise UserError(f"{path}: is larger than any table of this kind")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a CSV in UTF-8") from None
    if "\0" in text:
        raise UserError(f"{path}: not a CSV (it holds zero bytes)")
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            is_header = reader.line_num == 1 and tuple(cell.lower() for cell in cells) == columns[: len(cells)]
            if any(cells) and not is_header:
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not a CSV ({error})") from None


def _without_copies(tracks: list[Track], warn: Warn) -> list[Track]:
    """One track for each recording; those that cannot be read are left out."""
    found: dict[str, Track] = {}
    for track in tracks:
        try:
            content = hashlib.sha256(track.path.read_bytes()).hexdigest()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            warn(f"{track.path}: left out: cannot be read: {reason}")
            continue
        first = found.setdefault(content, track)
        if first is not track:
            if first.concepts & track.concepts:
                shared = ", ".join(sorted(first.concepts & track.concepts))
                warn(f"{track.path}: the same recording as {first.path}, counted once in {shared}")
            if first.split and track.split and first.split != track.split:
                raise UserError(f"{track.path}: the same recording as {first.path}, but in another split")
            first.split = first.split or track.split
            first.concepts |= track.concepts
    return list(found.values())
