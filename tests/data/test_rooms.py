from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from musicstar_ext.data import rooms
from musicstar_ext.data.rooms import Room, noise_floor, record, tone_filter

RATE = 44_100
HALL = Room(decay=1.2, damping=0.5, delay=0.02, wet=0.4, seed=3)


def test_a_room_answers_after_its_delay_with_its_share_of_the_energy():
    answer = HALL.reverberation(RATE)
    assert answer.shape[0] == 2
    assert not answer[:, : round(HALL.delay * RATE)].any()
    np.testing.assert_allclose(np.square(answer).sum(axis=1), HALL.wet, rtol=1e-5)
    np.testing.assert_array_equal(answer, HALL.reverberation(RATE))
    assert np.abs(np.corrcoef(answer)[0, 1]) < 0.5  # a room is not in the middle


def test_a_room_dies_away_in_its_decay_time_and_its_treble_faster():
    answers = np.concatenate([replace(HALL, seed=seed).reverberation(RATE) for seed in range(8)])
    size = round(0.1 * RATE)
    spectra = [  # at two times beyond the early reflections, half a second apart
        np.square(np.abs(np.fft.rfft(answers[:, start : start + size] * np.hanning(size)))).mean(axis=0)
        for start in (round(0.1 * RATE), round(0.6 * RATE))
    ]
    frequencies = np.fft.rfftfreq(size, 1 / RATE)
    for (low, high), share in {(40, 200): 1.0, (6000, 20000): HALL.damping}.items():
        before, after = (spectrum[(low < frequencies) & (frequencies < high)].mean() for spectrum in spectra)
        slope = 10 * np.log10(before / after) / 0.5  # dB a second
        assert 60 / slope == pytest.approx(HALL.decay * share, rel=0.15)


@pytest.mark.parametrize("tilt", [-2.25, 1.5])
def test_a_tilted_tone_has_the_magnitude_that_was_asked_for_and_no_delay(tilt: float):
    taps = tone_filter(tilt, RATE)
    magnitude = np.abs(np.fft.rfft(taps, 1 << 16))
    for octaves in (-3, -1, 0, 2):
        at = round(1000 * 2**octaves / RATE * (1 << 16))
        assert 20 * np.log10(magnitude[at]) == pytest.approx(tilt * octaves, abs=0.1)
    energy = np.cumsum(np.square(taps)) / np.square(taps).sum()
    assert energy[round(0.001 * RATE)] > 0.7
    assert np.abs(taps).argmax() == 0


@pytest.mark.parametrize("room", [None, HALL, Room(0.1, 0.3, 0.003, 0.02, 1)])
def test_a_recording_is_the_sum_of_direct_sound_and_answer(room: Room | None):
    random = np.random.default_rng(0)
    audio = random.standard_normal((2, 100_000)).astype(np.float32)
    tilt = 1.0
    recorded = record(audio, RATE, tilt, room)
    assert recorded.shape == audio.shape
    toned = np.stack([np.convolve(channel, tone_filter(tilt, RATE)) for channel in audio])[:, :100_000]
    expected = toned
    if room is not None:
        size = 1 << 18
        answer = np.fft.irfft(np.fft.rfft(room.reverberation(RATE), size) * np.fft.rfft(toned.mean(axis=0), size), size)
        expected = toned * np.sqrt(1 - room.wet) + answer[:, :100_000]
    np.testing.assert_allclose(recorded, expected, atol=2e-4 * np.abs(expected).max())


def test_nothing_comes_before_an_attack_and_the_attack_stays_the_loudest():
    clicks = np.zeros((2, RATE), np.float32)
    clicks[:, 20_000] = 1
    recorded = record(clicks, RATE, -2.25, HALL)
    assert np.abs(recorded).max(axis=0).argmax() == 20_000
    assert np.abs(recorded[:, :20_000]).max() < 1e-5


def test_a_recording_without_room_and_tone_is_the_sound_itself():
    audio = np.ones((2, 10), np.float32)
    assert record(audio, RATE) is audio


@pytest.mark.parametrize("slope", [0.0, -4.0])
def test_noise_has_its_level_below_8_khz_in_the_mean_of_both_channels(slope: float):
    samples = rooms.NOISE_PERIOD + 50_000
    noise = noise_floor(samples, RATE, -50.0, slope, 7)
    assert noise.shape == (2, samples)
    spectrum = np.fft.rfft(noise.mean(axis=0)[: rooms.NOISE_PERIOD])
    spectrum[np.fft.rfftfreq(rooms.NOISE_PERIOD, 1 / RATE) >= 8000] = 0
    heard = np.fft.irfft(spectrum)
    assert 10 * np.log10(np.square(heard).mean()) == pytest.approx(-50, abs=0.01)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05
    np.testing.assert_array_equal(noise, noise_floor(samples, RATE, -50.0, slope, 7))
    assert (noise != noise_floor(samples, RATE, -50.0, slope, 8)).any()
