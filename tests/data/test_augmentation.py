"""What the module promises of a shift: the right pitch inside the span, nothing outside it, the level, no clicks."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.data.augmentation import Shifts, draw_shifts, shift_spans

RATE = 16_000


def sine(frequency: float, samples: int, batch: int = 1, amplitude: float = 8000) -> np.ndarray:
    row = np.rint(amplitude * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)).astype(np.int16)
    return np.tile(row, (batch, 1))


def frequency_of(samples: np.ndarray, near: float) -> float:
    """Frequency of a sine, from the slope of its phase against that of `near`; rounding is far below a cent."""
    beat = samples * np.exp(-2j * np.pi * near * np.arange(len(samples)) / RATE)
    phase = np.unwrap(np.angle(np.convolve(beat, np.hanning(801), "valid")))
    return near + np.polyfit(np.arange(len(phase)), phase, 1)[0] * RATE / (2 * np.pi)


def draw(batch: int, samples: int, seed: int = 0) -> Shifts:
    return draw_shifts(np.random.default_rng(seed), batch, samples, RATE)


def spans(shifts: Shifts) -> list[tuple[int, int]]:
    return [(start, start + length) for start, length in zip(shifts.starts, shifts.lengths, strict=True)]


@pytest.mark.parametrize("samples", [12_000, 8_000, 4_000, 3_000])
@pytest.mark.parametrize("frequency", [220.0, 1000.0, 3300.0])
def test_pitch_and_level_inside_nothing_outside(samples, frequency):
    plain, shifts = sine(frequency, samples, batch=12), draw(12, samples)
    shifted = shift_spans(plain, shifts)
    assert shifted.dtype == np.int16
    for before, after, (start, end), semitones in zip(plain, shifted, spans(shifts), shifts.semitones, strict=True):
        assert np.array_equal(after[:start], before[:start])
        assert np.array_equal(after[end:], before[end:])
        inside = after[start + shifts.fade : end - shifts.fade].astype(float)
        cents = 1200 * np.log2(frequency_of(inside, frequency) / frequency)
        assert cents == pytest.approx(100 * semitones, abs=1)
        assert 20 * np.log10(inside.std() / (8000 / 2**0.5)) == pytest.approx(0, abs=0.1)


def test_the_middle_of_a_span_stays_in_place_and_its_borders_within_8_ms():
    """Clicks in the material tell where it has gone."""
    clicks = np.zeros((32, 16_000), np.int16)
    clicks[:, ::400] = 20_000
    shifts = draw(32, 16_000)
    for after, (start, end) in zip(shift_spans(clicks, shifts), spans(shifts), strict=True):
        inside = after[start + shifts.fade : end - shifts.fade]
        peaks = start + shifts.fade + np.flatnonzero((inside > 5000) & (inside >= np.roll(inside, 1)))
        moved = (peaks + 200) % 400 - 200
        assert np.abs(moved).max() <= 0.008 * RATE
        nearest = np.argmin(np.abs(peaks - (start + end) / 2))
        touches_a_border = start < 120 or end > 16_000 - 120
        assert abs(moved[nearest]) <= 8 or touches_a_border


def test_no_clicks():
    plain, shifts = sine(440.0, 12_000, batch=32), draw(32, 12_000)
    steepest = np.abs(np.diff(plain[0].astype(int))).max()
    assert np.abs(np.diff(shift_spans(plain, shifts).astype(int))).max() < 1.3 * steepest


def test_no_shift_is_no_change():
    noise = np.random.default_rng(1).integers(-9000, 9000, (1, 9000)).astype(np.int16)
    shifts = Shifts(np.array([1000]), np.array([5000]), np.array([0.0]), 80)
    assert np.abs(shift_spans(noise, shifts).astype(int) - noise).max() <= 1


def test_what_is_drawn():
    shifts = draw(4000, 16_000)
    assert shifts.lengths.min() == pytest.approx(0.25 * RATE, abs=20)
    assert shifts.lengths.max() == pytest.approx(0.5 * RATE, abs=20)
    assert shifts.semitones.min() == pytest.approx(-0.5, abs=0.01)
    assert shifts.semitones.max() == pytest.approx(0.5, abs=0.01)
    assert shifts.starts.min() >= 0
    assert (shifts.starts + shifts.lengths).max() <= 16_000
    assert shifts.starts.min() < 20
    assert (shifts.starts + shifts.lengths).max() > 16_000 - 20


def test_a_row_does_not_depend_on_the_others():
    noise = np.random.default_rng(1).integers(-9000, 9000, (6, 9000)).astype(np.int16)
    shifts = draw(6, 9000)
    whole = shift_spans(noise, shifts)
    assert np.array_equal(shift_spans(noise[2:4], shifts.rows(slice(2, 4))), whole[2:4])
    assert np.array_equal(shift_spans(noise, draw(6, 9000)), whole)


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 4, 7, 50, 100, 801, 3999, 4117, 8235])
def test_short_crops(samples):
    noise = np.random.default_rng(1).integers(-32768, 32768, (20, samples)).astype(np.int16)
    shifts = draw(20, samples)
    assert shifts.lengths.max() <= max(samples, 0)
    assert shift_spans(noise, shifts).shape == noise.shape


def test_channels_are_shifted_alike():
    mono, shifts = sine(440.0, 9000, batch=3), draw(3, 9000)
    stereo = np.stack([mono, -mono], axis=2)
    shifted = shift_spans(stereo, shifts)
    assert np.array_equal(shifted[..., 0], shift_spans(mono, shifts))
    assert np.array_equal(shifted[..., 1], -shifted[..., 0])


def test_full_scale_does_not_wrap():
    loud = np.where(np.arange(9000) // 50 % 2, 32767, -32768).astype(np.int16)[None]
    shifted = shift_spans(loud, Shifts(np.array([500]), np.array([8000]), np.array([0.5]), 80))[0]
    edges = np.count_nonzero(np.diff(np.sign(shifted.astype(int)[600:8400])))
    assert edges == pytest.approx(7800 / 50 * 2 ** (0.5 / 12), abs=2)  # overshoots that wrapped would add some
    assert shifted.max() == 32767
