"""Arrays kept under a hash of their audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.cache import Cache, default_folder
from musicstar_ext.errors import UserError

SAMPLES = np.arange(10, dtype=np.float32)


@pytest.fixture
def counted() -> tuple[list[int], Callable[[], dict[str, np.ndarray]]]:
    calls: list[int] = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"a": np.arange(3), "b": np.zeros((0, 2))}

    return calls, compute


def test_what_is_there_is_not_computed_again(counted, tmp_path: Path):
    calls, compute = counted
    for _ in range(3):
        found = Cache(tmp_path).arrays("kind", SAMPLES, compute, 16_000, "1.0")
        assert found["a"].tolist() == [0, 1, 2]
        assert found["b"].shape == (0, 2)
    assert len(calls) == 1


def test_other_audio_settings_and_kinds_are_other_entries(counted, tmp_path: Path):
    calls, compute = counted
    cache = Cache(tmp_path)
    cache.arrays("kind", SAMPLES, compute, 16_000)
    cache.arrays("kind", SAMPLES + 1, compute, 16_000)
    cache.arrays("kind", SAMPLES[:9], compute, 16_000)
    cache.arrays("kind", SAMPLES, compute, 44_100)
    cache.arrays("other", SAMPLES, compute, 16_000)
    assert len(calls) == 5


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_entry_is_computed_again(damage: bytes | None, counted, tmp_path: Path):
    calls, compute = counted
    Cache(tmp_path).arrays("kind", SAMPLES, compute)
    (entry,) = (tmp_path / "kind").iterdir()
    entry.write_bytes(entry.read_bytes()[:-30] if damage is None else damage)
    for _ in range(2):
        assert Cache(tmp_path).arrays("kind", SAMPLES, compute)["a"].tolist() == [0, 1, 2]
    assert len(calls) == 2


def test_without_a_folder_nothing_is_kept(counted):
    calls, compute = counted
    for _ in range(2):
        Cache(None).arrays("kind", SAMPLES, compute)
    assert len(calls) == 2


def test_an_interrupted_computation_leaves_nothing(tmp_path: Path):
    def compute() -> dict[str, np.ndarray]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).arrays("kind", SAMPLES, compute)
    assert list(tmp_path.rglob("*")) == []


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MUSICSTAR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "musicstar_ext"
    monkeypatch.setenv("MUSICSTAR_CACHE", str(tmp_path / "mine"))
    assert Cache.chosen(None).folder == tmp_path / "mine"
    assert (tmp_path / "mine").is_dir()
    assert Cache.chosen(tmp_path / "named").folder == tmp_path / "named"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MUSICSTAR_CACHE", str(tmp_path / "file" / "below"))
    assert Cache.user().folder is None
    with pytest.raises(UserError, match="cannot be the cache"):
        Cache.chosen(tmp_path / "file")
