"""MFCC frames and their segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.evaluation.mfcc import SEGMENT, mfcc, segments, segments_of


def frames(count: int) -> np.ndarray:
    return np.arange(12 * count, dtype=np.float32).reshape(12, count)


@pytest.mark.parametrize(
    ("count", "starts"),
    [(256, [0]), (287, [0]), (288, [0, 32]), (313, [0, 57]), (512, [0, 256]), (600, [0, 256, 344])],
)
def test_segments_follow_each_other_and_a_last_one_ends_at_the_end(count: int, starts: list[int]):
    whole = frames(count)
    cut = segments(whole)
    assert cut.shape == (len(starts), 12, SEGMENT)
    for segment, start in zip(cut, starts, strict=True):
        assert np.array_equal(segment, whole[:, start : start + SEGMENT])


def test_a_short_recording_is_repeated():
    cut = segments(frames(100))
    assert cut.shape == (1, 12, SEGMENT)
    assert np.array_equal(cut[0, :, 100:200], frames(100))
    with pytest.raises(UserError, match="no frames"):
        segments(frames(0))


def test_mfcc_are_librosas_without_the_first(tone, tmp_path: Path):
    librosa = pytest.importorskip("librosa")
    samples = tone(1.0)
    expected = librosa.feature.mfcc(y=samples, sr=16_000, n_mfcc=13, hop_length=500)
    cache = Cache.at(tmp_path)
    for _ in range(2):
        assert np.array_equal(mfcc(samples, cache), expected[1:])
    # What only changes the level changes the dropped coefficient alone.
    assert np.abs(mfcc(samples * 0.5) - expected[1:]).max() < 1e-2
    assert segments_of([samples, samples]).shape == (2, 12, SEGMENT)
