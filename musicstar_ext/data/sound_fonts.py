"""Which sound fonts a set is rendered with: the General MIDI fonts that are installed, one held out for testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from musicstar_ext.errors import UserError

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


def _first_of_each(names: tuple[str, ...]) -> list[Path]:
    """The fonts of these names that are installed; a link to another of them counts once."""
    found: dict[Path, Path] = {}
    for name in names:
        for folder in FOLDERS:
            if (folder / name).is_file():
                found.setdefault((folder / name).resolve(), folder / name)
    return list(found.values())
