"""Real recordings where they are at hand, short melodies where not, and a cache of the tests' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RATE = 16_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache; pitches are found once a run."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("MUSICSTAR_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def melody() -> Callable[..., np.ndarray]:
    """A function (pitches, seconds each, overtone) -> float32 at 16 kHz; the overtone stands for the instrument."""

    def play(pitches: list[int], seconds: float = 0.5, overtone: int = 2) -> np.ndarray:
        phase = (
            2 * np.pi * np.cumsum(np.repeat(440 * 2 ** ((np.array(pitches) - 69) / 12), round(seconds * RATE))) / RATE
        )
        return (0.2 * np.sin(phase) + 0.1 * np.sin(overtone * phase)).astype(np.float32)

    return play
