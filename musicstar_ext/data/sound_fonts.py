"""Which sound fonts a set is rendered with: the General MIDI fonts that are installed, one held out for testing."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

from musicstar_ext.errors import UserError

from .instruments import PROGRAM_NAMES, Domains
from .synthesis import check_sound_font

FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"))
TRAINING = ("FluidR3_GM.sf2", "MuseScore_General_Full.sf3", "MuseScore_General.sf3")
HELD_OUT = ("TimGM6mb.sf2",)

_PACKAGES = "Debian: apt install fluid-soundfont-gm timgm6mb-soundfont"


def choose_sound_fonts(
    training: Sequence[Path] | None, held_out: Path | None, shares: Mapping[str, float]
) -> dict[str, list[Path]]:
    """The fonts of each split that gets a share of the pieces: as given, else the ones that are installed.

    Raises:
        UserError: no font is found, one is no sound font, or the held-out font is also one for training.
    """
    fonts = list(training) if training else _first_of_each(TRAINING)
    if not fonts:
        folders = " or ".join(map(str, FOLDERS))
        raise UserError(f"no sound font found in {folders} ({_PACKAGES}), or name one: --sound-font")
    if held_out is None and shares["test"] > 0:
        found = _first_of_each(HELD_OUT)
        if not found:
            raise UserError(f"no held-out sound font found ({_PACKAGES}), or name one: --test-sound-font")
        held_out = found[0]
    testing = [held_out] if held_out else []
    for font in (*fonts, *testing):
        check_sound_font(font)
    for font in testing:
        if font.resolve() in {other.resolve() for other in fonts}:
            raise UserError(f"{font}: is both a sound font for training and the held-out one")
    return {"train": fonts, "validation": fonts, "test": testing}


def check_programs(fonts: Iterable[Path], domains: Domains) -> None:
    """Raises UserError where one of the fonts lacks the program of one of the domains' stems."""
    for font in fonts:
        there = programs_of(font)
        for player in (player for players in domains.values() for player in players):
            if player.program not in there:
                name = PROGRAM_NAMES[player.program]
                raise UserError(f"{font}: has no General MIDI program {player.program} ({name}) for {player.stem}")


@cache
def programs_of(font: Path) -> frozenset[int]:
    """The melodic programs (from 0) of a sound font: the presets of bank 0, read from its `phdr` chunk.

    A sound font is RIFF: lists of chunks, of which `pdta` holds `phdr`, with a record of 38 bytes for each preset
    (name, program, bank, ...) and one at the end (SoundFont 2.04, section 7.2).

    Raises:
        UserError: the file cannot be read, or is damaged.
    """
    check_sound_font(font)
    try:
        with font.open("rb") as file:
            file.seek(12)
            file.seek(_find_chunk(file, b"LIST", b"pdta")[0])
            start, length = _find_chunk(file, b"phdr")
            file.seek(start)
            records = file.read(length)
            if len(records) < length:
                raise EOFError
    except OSError as error:
        raise UserError(f"{font}: cannot be read: {error.strerror or error}") from None
    except (struct.error, EOFError):
        raise UserError(f"{font}: a damaged sound font: it lists no presets") from None
    presets = [struct.unpack_from("<HH", records, at + 20) for at in range(0, len(records) - 38, 38)]
    return frozenset(program for program, bank in presets if bank == 0)


def _find_chunk(file: BinaryIO, name: bytes, kind: bytes = b"") -> tuple[int, int]:
    """From where a file stands, the next chunk of a name (of a LIST: of a kind): where its data start, their length."""
    while True:
        header = file.read(8)
        if len(header) < 8:
            raise EOFError
        found, length = struct.unpack("<4sI", header)
        start = file.tell()
        if found == name and file.read(len(kind)) == kind:
            return start + len(kind), length - len(kind)
        file.seek(start + length + length % 2)


def _first_of_each(names: tuple[str, ...]) -> list[Path]:
    """The fonts of these names that are installed; a link to another of them counts once."""
    found: dict[Path, Path] = {}
    for name in names:
        for folder in FOLDERS:
            if (folder / name).is_file():
                found.setdefault((folder / name).resolve(), folder / name)
    return list(found.values())
