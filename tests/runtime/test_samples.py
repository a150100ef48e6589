"""Any samples -> mono float32; any cut -> equal blocks."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.samples import mono, reblock


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 2**14, -(2**15)], np.int16),
        ([0, 2**30, -(2**31)], np.int32),
        ([0, 2**6, -(2**7)], np.int8),
        ([128, 192, 0], np.uint8),
        ([2**15, 2**15 + 2**14, 0], np.uint16),
        ([0, 0.5, -1], np.float16),
        ([0, 0.5, -1], np.float32),
        ([0, 0.5, -1], np.float64),
    ],
)
def test_full_scale_is_one(values: list[float], dtype: type) -> None:
    out = mono(np.array(values, dtype))
    assert out.dtype == np.float32
    assert out.tolist() == [0.0, 0.5, -1.0]


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_down_mix_is_the_mean_whatever_the_layout_or_the_cut(channels: int) -> None:
    samples = np.random.default_rng(0).standard_normal((1001, channels)).astype(np.float32)
    whole = mono(samples)
    np.testing.assert_allclose(whole, samples.mean(axis=1), atol=1e-6)
    assert np.array_equal(mono(np.asfortranarray(samples)), whole)
    assert np.array_equal(np.concatenate([mono(samples[:7]), mono(samples[7:8]), mono(samples[8:])]), whole)


def test_the_callers_array_is_left_alone() -> None:
    samples = np.ones((4, 2), np.float32)
    mono(samples)
    assert (samples == 1).all()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 3, 4)), r"\[N\] or \[N, channels\]"),
        (np.zeros((2, 44_100)), r"1 to 256 channels"),
        (np.zeros((5, 0)), r"1 to 256 channels"),
        (np.float32(1), r"\[N\] or \[N, channels\]"),
        (np.zeros(3, complex), "real numbers"),
        (np.zeros(3, bool), "real numbers"),
        (np.array(["a"]), "real numbers"),
        (np.array([0, np.nan]), r"sample 11 is not finite \(nan\)"),
        (np.array([[0, 0], [0, np.inf]]), r"sample 11 is not finite \(inf\)"),
        (np.array([1e300, 0]), r"sample 10 is not finite"),
    ],
)
def test_bad_samples(samples: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mono(samples, first=10)


@pytest.mark.parametrize("cuts", [[], [0], [1, 2, 3], [799], [800], [801], [1600, 1601], [5, 5, 2000]])
def test_reblock(cuts: list[int]) -> None:
    samples = np.arange(2400, dtype=np.float32)
    blocks = list(reblock(np.split(samples, cuts), 800))
    assert [len(block) for block in blocks] == [800] * 3
    assert np.array_equal(np.concatenate(blocks), samples)
    assert [len(block) for block in reblock([samples[:801]], 800)] == [800, 1]
    assert list(reblock([samples[:0]], 800)) == []
