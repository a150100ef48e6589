"""The Jaccard similarity of pitch sets: by hand on small sets, and the published figures on real recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.cache import Cache
from musicstar_ext.errors import MissingExtraError, UserError
from musicstar_ext.evaluation import pitch
from musicstar_ext.evaluation.content import jaccard, jaccard_of_sets, through_mu_law
from musicstar_ext.evaluation.recording import read_recording


def test_similarity_of_small_sets_by_hand():
    output = [{60, 64}, {60}, set(), {60}, set()]
    gold = [{64, 67}, {60}, set(), set(), {72}]
    assert jaccard_of_sets(output, gold) == pytest.approx((1 / 3 + 1 + 1 + 0 + 0) / 5)


def test_similarity_is_symmetric_and_one_for_equal_sets():
    random = np.random.default_rng(1)
    first, second = ([set(random.integers(60, 66, random.integers(0, 4))) for _ in range(50)] for _ in range(2))
    assert jaccard_of_sets(first, second) == jaccard_of_sets(second, first)
    assert 0 < jaccard_of_sets(first, second) < 1
    assert jaccard_of_sets(first, first) == 1.0


@pytest.mark.parametrize("frames", [0, 1])
def test_different_numbers_of_frames_are_refused(frames: int):
    with pytest.raises(UserError, match="frames"):
        jaccard_of_sets([set()] * frames, [set()] * (2 * frames))


def test_pitches_are_rounded_as_published():
    assert [pitch.nearest_pitch(f) for f in (440.0, 452.0, 453.0, 8.3, 27.5)] == [69, 69, 70, 0, 21]
    assert pitch.pitch_sets([np.array([0.0, 440.0, 441.0]), np.array([])]) == [{69}, frozenset()]


def test_without_essentia_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    pitch._essentia.cache_clear()
    monkeypatch.setitem(sys.modules, "essentia", None)
    with pytest.raises(MissingExtraError, match=r"musicstar-ext\[melodia\]"):
        jaccard(np.zeros(8000, np.float32), np.zeros(8000, np.float32))


class TestWithMelodia:
    """On audio."""

    @pytest.fixture(autouse=True)
    def _essentia(self):
        pytest.importorskip("essentia", reason="Melodia needs essentia (extra melodia)")

    def test_a_melody_is_itself_whatever_its_overtones_and_not_another(self, melody: Callable[..., np.ndarray]):
        gold = melody([60, 64, 67, 72])
        assert jaccard(gold, gold) == 1.0
        assert jaccard(melody([60, 64, 67, 72], overtone=3), gold) > 0.8
        assert jaccard(melody([61, 65, 68, 73]), gold) < 0.2

    def test_the_longer_is_cut(self, melody: Callable[..., np.ndarray]):
        gold = melody([60, 64, 67, 72])
        assert jaccard(gold[:16000], gold) == jaccard(gold[:16000], gold[:16000]) == 1.0

    def test_silence_is_unlike_music_and_like_silence(self, melody: Callable[..., np.ndarray]):
        silence = np.zeros(16000, np.float32)
        assert jaccard(silence, melody([60, 64])) < 0.2
        assert jaccard(silence, silence) == 1.0

    def test_cached_frames_are_the_found_ones(self, melody: Callable[..., np.ndarray], tmp_path: Path):
        samples, cache = melody([60, 67]), Cache.at(tmp_path / "cache")
        found = pitch.multi_pitch(samples)
        for _ in range(2):
            kept = pitch.multi_pitch(samples, cache)
            assert len(kept) == len(found)
            assert all(np.array_equal(a, b) for a, b in zip(kept, found, strict=True))
        assert len(list((tmp_path / "cache" / "melodia").iterdir())) == 1

    def test_published_figures(self, starnet_clips: Path):
        """Music-STAR's outputs and the unchanged inputs against the true recordings, five pieces, both directions."""
        cache = Cache.user()
        published, copied, bound, itself = [], [], [], []
        for piece in range(1, 6):
            for code in (0, 3):
                gold = read_recording(starnet_clips / f"{piece:03}.{code}.wav")
                source = read_recording(starnet_clips / f"{piece:03}.{3 - code}.wav")
                folder = starnet_clips / "published_music_star_mixture"
                published.append(jaccard(read_recording(folder / f"{piece:03}.{code}.wav"), gold, cache))
                copied.append(jaccard(source, gold, cache))
                bound.append(jaccard(through_mu_law(gold), gold, cache))
                itself.append(jaccard(gold, gold, cache))
        assert np.mean(published) == pytest.approx(0.4665, abs=0.002)
        assert np.mean(copied) == pytest.approx(0.5743, abs=0.002)
        assert np.mean(bound) == pytest.approx(0.992, abs=0.005)
        assert itself == [1.0] * 10


def test_mu_law_there_and_back_stays_near(melody: Callable[..., np.ndarray]):
    samples = melody([60, 64])
    error = through_mu_law(samples) - samples
    assert 0 < np.abs(error).max() < 0.03
