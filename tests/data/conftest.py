"""A tiny prepared set of instruments that the package has never heard of, and what rendering needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.data.sound_fonts import FOLDERS, HELD_OUT, TRAINING

RATE = 8_000
DOMAINS = {"lute-viol": ["lute", "viol"], "oboe-harp": ["oboe", "harp"]}
TRACKS = ["lute", "viol", "lute-viol", "oboe", "harp", "oboe-harp"]


def make_set(folder: Path, splits: dict[str, str] | None = None, samples: int = 500) -> Path:
    """A whole set of noise: {piece: split}."""
    random = np.random.default_rng(3)
    pieces: dict[str, dict[str, Any]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in (splits or {"one": "train", "two": "train", "three": "test"}).items():
        tracks = {track: random.integers(-9000, 9000, samples).astype(np.int16) for track in TRACKS}
        tracks["oboe"][:] = 0  # silence has no level
        pieces[name] = write_piece(folder, name, tracks, RATE, {"split": split})
    write_description(folder, RATE, DOMAINS, pieces, {"command": "a test"})
    return folder


@pytest.fixture
def prepared_folder(tmp_path: Path) -> Path:
    return make_set(tmp_path / "set")


def edit_description(folder: Path, **changes: Any) -> None:
    """Replace keys of `dataset.json`."""
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="session")
def sound_font() -> Path:
    """An installed General MIDI sound font, the smallest first; skips without one, and without fluidsynth."""
    pytest.importorskip("fluidsynth", reason="rendering needs fluidsynth and pyfluidsynth", exc_type=ImportError)
    for name in (*HELD_OUT, *TRAINING):
        for folder in FOLDERS:
            if (folder / name).is_file():
                return folder / name
    pytest.skip(f"rendering needs a sound font in {' or '.join(map(str, FOLDERS))}")
