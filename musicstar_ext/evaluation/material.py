"""What systems are compared on: recordings of the same music in two domains, to be translated both ways.

An *item* is one piece in one direction. The material is a prepared set's split, or a folder of published clips; either
way an output belongs to the item whose true recording has the same relative path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from musicstar_ext.data.layout import STARNET, Layout
from musicstar_ext.data.prepared import DESCRIPTION, NOTES, PreparedSet
from musicstar_ext.errors import UserError

from .notes import Notes, read_notes, true_notes


@dataclass(frozen=True)
class Item:
    """One piece in one direction.

    Attributes:
        piece: its name, the same in both directions.
        source, target: domains.
        heard: the source mixture's file.
        stems: {stem: file} of the source domain, for systems that hear stems; empty where there are none.
        gold: the true recording in the target domain.
        place: `gold` relative to the material's folder: where a system's output lies in its own folder.
        notes_file: the notes that were played, where they are known.
        played_by: the target's stems, whose notes count.
    """

    piece: str
    source: str
    target: str
    heard: Path
    gold: Path
    place: Path
    stems: dict[str, Path] = field(default_factory=dict, hash=False)
    notes_file: Path | None = None
    played_by: tuple[str, ...] = ()

    @property
    def direction(self) -> str:
        return f"{self.source}_to_{self.target}"

    def notes(self, seconds: float) -> Notes | None:
        """The notes of the true recording, [N, 3]: start and end in seconds, MIDI pitch."""
        if self.notes_file is None:
            return None
        return true_notes(read_notes(self.notes_file), self.played_by, seconds)


@dataclass(frozen=True)
class Material:
    """Items, and what they are, in words."""

    folder: Path
    description: str
    items: tuple[Item, ...]
    is_starnet: bool

    @property
    def directions(self) -> list[str]:
        return list(dict.fromkeys(item.direction for item in self.items))

    @property
    def pieces(self) -> list[str]:
        return list(dict.fromkeys(item.piece for item in self.items))


def open_material(folder: Path, split: str = "test", pieces: Sequence[str] = ()) -> Material:
    """A prepared set's split, or a folder of clips named as StarNet's (`NNN.S.wav`), in both directions.

    Args:
        pieces: only these; all where empty.

    Raises:
        UserError: the folder is neither, or has no piece with both domains, or lacks one of `pieces`.
    """
    if (folder / DESCRIPTION).exists():
        material = _from_prepared_set(folder, split)
    elif folder.is_dir():
        material = _from_clips(folder, STARNET)
    else:
        raise UserError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    known = material.pieces
    for piece in pieces:
        if piece not in known:
            raise UserError(
                f"{folder}: has no piece {piece!r}; it has {', '.join(known[:10])}{', ...' * (len(known) > 10)}"
            )
    items = tuple(item for item in material.items if not pieces or item.piece in pieces)
    return Material(folder, material.description, items, material.is_starnet)


def _from_prepared_set(folder: Path, split: str) -> Material:
    prepared = PreparedSet.open(folder)
    if len(prepared.domains) < 2:
        raise UserError(f"{folder}: has one domain only, so there is nothing to translate")
    first, second = list(prepared.domains)[:2]
    items = []
    for piece in prepared.pieces(split):
        place = folder / piece.name
        notes = place / NOTES
        for source, target in ((first, second), (second, first)):
            items.append(
                Item(
                    piece=piece.name,
                    source=source,
                    target=target,
                    heard=place / f"{source}.wav",
                    gold=place / f"{target}.wav",
                    place=Path(piece.name) / f"{target}.wav",
                    stems={stem: place / f"{stem}.wav" for stem in prepared.domains[source]},
                    notes_file=notes if notes.exists() else None,
                    played_by=tuple(prepared.domains[target]),
                )
            )
    if not items:
        raise UserError(f"{folder}: has no pieces in the split {split!r}")
    seconds = np.sum([piece.samples for piece in prepared.pieces(split)]) / prepared.sample_rate
    description = f"{folder.resolve().name}, {split} split: {len(items) // 2} pieces, {seconds / 60:.1f} min"
    return Material(folder, description, tuple(items), is_starnet=False)


def _from_clips(folder: Path, layout: Layout) -> Material:
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.wav")):
        found = layout.match(PurePosixPath(path))
        if found is not None:
            files.setdefault(found[0], {})[found[1]] = path
    first, second = layout.domains
    items = []
    for piece, tracks in files.items():
        if first not in tracks or second not in tracks:
            continue
        for source, target in ((first, second), (second, first)):
            stems = {stem: tracks[stem] for stem in layout.domains[source] if stem in tracks}
            items.append(
                Item(
                    piece=piece,
                    source=source,
                    target=target,
                    heard=tracks[source],
                    gold=tracks[target],
                    place=Path(tracks[target].name),
                    stems=stems,
                )
            )
    if not items:
        raise UserError(f"{folder}: neither a prepared set nor a folder of clips named NNN.0.wav and NNN.3.wav")
    return Material(folder, f"{folder.resolve().name}: {len(items) // 2} clips named as StarNet's", tuple(items), True)
