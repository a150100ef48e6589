"""A cache of the tests' own, and the sound fonts that are installed."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "concepts-cache"
    monkeypatch.setenv("MUSICSTAR_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def sound_fonts() -> list[Path]:
    """The installed sound fonts for training and the one held out; skips without them, and without fluidsynth."""
    pytest.importorskip("fluidsynth", reason="rendering needs fluidsynth and pyfluidsynth", exc_type=ImportError)
    from musicstar_ext.data.sound_fonts import choose_sound_fonts
    from musicstar_ext.errors import UserError

    try:
        fonts = choose_sound_fonts(None, None, {"test": 1.0})
    except UserError as error:
        pytest.skip(str(error))
    return [fonts["train"][0], fonts["test"][0]]
