from __future__ import annotations

import math

import _musicstar_core as core
import numpy as np
import pytest


def published_encode(x: float) -> int:
    companded = math.copysign(math.log(1 + 255 * abs(x)) / math.log(256), x)
    return int((companded + 1) / 2 * 255)


def test_encode_is_the_published_formula():
    audio = np.linspace(-1, 1, 4001, dtype=np.float32)
    # One code of slack exactly at a border between codes, where log and log1p may differ in the last bit.
    expected = np.array([published_encode(float(x)) for x in audio])
    found = core.mu_law_encode(audio).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 1e-3


@pytest.mark.parametrize(("sample", "code"), [(0.0, 127), (1.0, 255), (-1.0, 0), (7.0, 255), (-7.0, 0)])
def test_landmarks_and_clipping(sample, code):
    assert core.mu_law_encode(np.array([sample], np.float32)) == [code]


def test_decode_is_the_published_formula():
    codes = np.arange(256, dtype=np.uint8)
    y = (codes.astype(np.float64) - 128) / 128
    expected = np.sign(y) * (256 ** np.abs(y) - 1) / 255
    np.testing.assert_allclose(core.mu_law_decode(codes), expected, rtol=1e-6, atol=1e-9)


def test_round_trip_error_grows_with_amplitude():
    audio = np.linspace(-0.99, 0.99, 999, dtype=np.float32)
    error = np.abs(core.mu_law_decode(core.mu_law_encode(audio)) - audio)
    # One step is a factor of 256^(1/128), 4.4 %; truncation and the asymmetry of the two formulas cost up to two.
    assert (error < 2 * 0.044 * np.abs(audio) + 1e-3).all()
    audible = np.abs(audio) > 0.01
    assert np.median(error[audible] / np.abs(audio[audible])) < 0.05


@pytest.mark.parametrize(
    "bad", [np.zeros(3), np.zeros((2, 2), np.float32), np.zeros(6, np.float32)[::2], np.zeros(3, np.int16)]
)
def test_arrays_are_checked(bad):
    with pytest.raises((TypeError, ValueError), match="audio must"):
        core.mu_law_encode(bad)
