from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from musicstar_ext.data.corpus import cache_folder, read_score, score_names

pytest.importorskip("music21", reason="scores come with music21")


def test_the_shelves_hold_each_score_once():
    for shelf in score_names():
        assert len(shelf) > 50
        assert len({name.rsplit(".", 1)[0] for name in shelf}) == len(shelf)


def test_a_chorale_is_read_with_its_ties_joined_and_comes_from_the_cache_the_next_time(tmp_path: Path):
    score = read_score("bach/bwv66.6.mxl", tmp_path)
    assert (score.composer, score.bar, len(score.parts)) == ("Bach", 4.0, 4)
    soprano = score.parts[0]
    assert [note.pitch for note in soprano[:5]] == [73, 71, 69, 71, 73]  # C sharp, B, A, B, C sharp
    assert soprano[0].start == 0.0
    assert score.quarters == 36.0
    assert all(a.start + a.length <= b.start for a, b in pairwise(soprano))
    (cached,) = tmp_path.iterdir()
    stamp = cached.stat().st_mtime_ns
    assert read_score("bach/bwv66.6.mxl", tmp_path) == score
    assert cached.stat().st_mtime_ns == stamp
    cached.write_text("{")
    assert read_score("bach/bwv66.6.mxl", tmp_path) == score


def test_scores_are_cached_for_all_sets_where_there_is_a_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSICSTAR_CACHE", str(tmp_path / "cache"))
    assert cache_folder(tmp_path / "set") == tmp_path / "cache" / "scores"
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSICSTAR_CACHE", str(tmp_path / "file"))
    assert cache_folder(tmp_path / "set") == tmp_path / "set" / ".scores"
    assert (tmp_path / "set" / ".scores").is_dir()
