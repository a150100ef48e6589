"""Recordings as the measures take them, and lengths that differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.evaluation.recording import (
    cut_to_shortest,
    is_silent,
    length_warning,
    read_recording,
    to_recording,
)


def test_stereo_at_another_rate_becomes_16_khz_mono(write_wav: Callable[..., Path]):
    t = np.arange(44_100) / 44_100
    both = np.stack([np.sin(2 * np.pi * 440 * t), np.zeros_like(t)], axis=1) * 0.5
    samples = read_recording(write_wav("stereo.wav", both, 44_100))
    assert samples.shape == (16_000,)
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(samples - expected)[200:-200].max() < 1e-3
    assert np.abs(to_recording((both * 32768).round().astype(np.int16), 44_100) - samples).max() < 1e-4


def test_too_short_is_named(write_wav: Callable[..., Path]):
    with pytest.raises(UserError, match=r"short\.wav: 0\.062 s are too short"):
        read_recording(write_wav("short.wav", np.zeros(1000)))


def test_lengths_may_differ_a_little():
    assert length_warning(np.zeros(16_000), np.zeros(16_000)) == ""
    assert length_warning(np.zeros(17_600), np.zeros(16_000)) == ""
    assert "1.11 s" in length_warning(np.zeros(17_761), np.zeros(16_000))
    with pytest.raises(UserError, match=r"the source lasts 1\.12 s .* not the same music"):
        length_warning(np.zeros(17_920), np.zeros(16_000), "the source")
    assert [len(x) for x in cut_to_shortest([np.zeros(5), np.zeros(3)])] == [3, 3]


def test_silence_is_80_db_below_full_scale():
    assert is_silent(np.full(10, 0.9e-4, np.float32))
    assert not is_silent(np.full(10, 1.1e-4, np.float32))
