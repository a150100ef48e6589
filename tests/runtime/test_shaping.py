"""Spectral shaping: the filter against its equations, as a stream, and from the checkpoint to the command."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from branch_models import STEMS, checkpoint_of
from random_networks import random_weights

from musicstar_ext import Translator, UserError, checkpoints
from musicstar_ext.architecture import SpectrumConfig
from musicstar_ext.checkpoints import SPECTRUM, Checkpoint
from musicstar_ext.nn import SpectrumNetwork, load_weights
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.shaping import ExpectedSpectrum, shaped
from musicstar_ext.shaping import choose_shaping
from musicstar_ext.translate import main

Tone = Callable[..., np.ndarray]
WriteWav = Callable[..., Path]

SMALL = SpectrumConfig(code_channels=3, pool=40, kernel_size=3, hidden_channels=8, window=64)


def expecting(config: SpectrumConfig, seed: int = 0) -> ExpectedSpectrum:
    weights = random_weights(config, seed)
    weights["log_power.bias"] = weights["log_power.bias"] - 3
    return ExpectedSpectrum(config, weights)


def always(log_power: np.ndarray, config: SpectrumConfig = SMALL) -> ExpectedSpectrum:
    """One that expects the same, whatever it hears."""
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    return ExpectedSpectrum(config, {**weights, "log_power.bias": log_power.astype(np.float32)})


def material(frames: int, config: SpectrumConfig = SMALL, missing: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(frames)
    audio = 0.1 * random.standard_normal(frames * config.pool - missing)
    return audio.astype(np.float32), random.standard_normal((frames, config.code_channels)).astype(np.float32)


def whole(audio: np.ndarray, frames: np.ndarray, expected: ExpectedSpectrum, strength: float = 1.0) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *shaped([audio], [frames], expected, strength)])


def by_the_equations(audio: np.ndarray, log_power: np.ndarray, config: SpectrumConfig, strength: float) -> np.ndarray:
    """In double precision, one window after the other over a recording between silences."""
    window, pool = config.window, config.pool
    hop, margin = window // 8, 40 * window
    padded = np.concatenate([np.zeros(margin), audio, np.zeros(margin)])
    hann = np.sin(np.pi * np.arange(window) / window) ** 2
    starts = range(0, len(padded) - window + 1, hop)
    spectra = np.array([np.fft.rfft(hann * padded[start : start + window]) for start in starts])
    power = np.abs(spectra) ** 2 / np.sum(hann**2)
    result = np.zeros(len(padded))
    for number, start in enumerate(starts):
        around = power[max(0, number - 4) : number + 5]
        played = around.sum(axis=0) / 9 + config.floor
        place = np.clip((start - margin + window / 2 - pool / 2) / pool, 0, len(log_power) - 1)
        left = int(place)
        right = min(left + 1, len(log_power) - 1)
        wanted = (1 - (place - left)) * log_power[left] + (place - left) * log_power[right]
        decibels = np.clip(10 / np.log(10) * (wanted - np.log(played)), -30, 30)
        result[start : start + window] += hann * np.fft.irfft(spectra[number] * 10 ** (strength * decibels / 20))
    return result[margin : margin + len(audio)] / 3  # what squared Hann windows, an eighth apart, sum up to


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("config", [SMALL, SpectrumConfig(code_channels=2, pool=90, kernel_size=1, window=32)])
def test_the_filter_is_its_equations(config, strength):
    audio, frames = material(30, config, missing=13)
    expected = expecting(config)
    log_power = np.concatenate(list(expected.of([frames])))
    found = whole(audio, frames, expected, strength)
    assert np.allclose(found, by_the_equations(audio, log_power, config, strength), atol=2e-5)
    if strength == 0:
        assert np.allclose(found, audio, atol=1e-6)


@pytest.mark.parametrize("kernel_size", [1, 5])
def test_what_is_expected_is_the_trained_networks(kernel_size):
    config = dataclasses.replace(SMALL, kernel_size=kernel_size)
    weights = random_weights(config, 3)
    network = SpectrumNetwork(config)
    load_weights(network, weights)
    frames = material(37, config)[1]
    with torch.inference_mode():
        expected = network(torch.from_numpy(frames.T.copy())[None])[0].numpy()
    found = np.concatenate(list(ExpectedSpectrum(config, weights).of(np.split(frames, [1, 2, 20]))))
    assert np.allclose(found, expected, atol=1e-5)


def test_cuts_change_no_bit():
    random, expected = np.random.default_rng(0), expecting(SMALL)
    audio, frames = material(70, missing=5)
    once = whole(audio, frames, expected)
    for pieces, frame_pieces in ((3, 60), (300, 2), (50, 50)):
        blocks = np.split(audio, np.sort(random.integers(0, len(audio), pieces)))
        frame_blocks = np.split(frames, np.sort(random.integers(0, len(frames), frame_pieces)))
        assert np.array_equal(np.concatenate(list(shaped(blocks, frame_blocks, expected, 1.0))), once)


@pytest.mark.parametrize("samples", [0, 1, 7, 8, 9, 39, 40, 64, 100])
def test_short_recordings_keep_their_length(samples):
    audio, frames = material(3)
    assert len(whole(audio[:samples], frames[: -(-samples // 40)], expecting(SMALL))) == samples


def test_no_more_is_read_ahead_than_the_filter_needs():
    """A stream comes out half a window and four hops late, and the code's own context."""
    audio, frames = material(100)
    read = 0

    def blocks():
        nonlocal read
        for start in range(0, len(audio), 40):
            read = start + 40
            yield audio[start : start + 40]

    given = 0
    for block in shaped(blocks(), np.split(frames, 100), expecting(SMALL), 1.0):
        given += len(block)
        assert read == len(audio) or read - given <= 64 + 4 * 8 + 40
    assert given == len(audio)


def test_noise_takes_the_expected_spectrum():
    log_power = np.linspace(-4, -9, SMALL.bins)
    audio, frames = material(3000)
    found = whole(audio, frames, always(log_power))
    windows = found.reshape(-1, 64)[4:-4] * np.hanning(64)
    power = (np.abs(np.fft.rfft(windows)) ** 2).mean(axis=0) / np.sum(np.hanning(64) ** 2)
    assert np.allclose(np.log(power)[2:-2], log_power[2:-2], atol=0.35)  # the average follows each window a little


def test_gains_end_at_30_decibels():
    audio, frames = material(200)
    for change in (+80, -80):  # in decibels
        log_power = np.full(SMALL.bins, np.log(0.01) + change * np.log(10) / 10)
        found = whole(audio, frames, always(log_power))[500:-500]
        gain = 20 * np.log10(np.std(found) / np.std(audio[500:-500]))
        assert gain == pytest.approx(np.sign(change) * 30, abs=0.1)


def test_silence_stays_silence():
    audio, frames = material(20)
    assert not whole(np.zeros_like(audio), frames, expecting(SMALL)).any()


# ---- in a model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def able_checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    config = SpectrumConfig(code_channels=4, pool=160, hidden_channels=8, window=256)
    return dataclasses.replace(
        tiny_checkpoint,
        networks={**tiny_checkpoint.networks, SPECTRUM: config},
        weights={**tiny_checkpoint.weights, SPECTRUM: random_weights(config, 5)},
    )


@pytest.fixture(scope="module")
def able(able_checkpoint: Checkpoint) -> Translator:
    return Translator(able_checkpoint, choose_engine("cpu", threads=1))


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Checkpoint) -> Translator:
    return Translator(tiny_checkpoint, choose_engine("cpu", threads=1))


@pytest.fixture
def able_model(able_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / "able.safetensors"
    checkpoints.save(able_checkpoint, path)
    return path


@pytest.mark.parametrize("lanes", [1, 3])
def test_shaping_0_is_the_decoder_and_auto_is_whole(
    able: Translator, plain: Translator, tone: Tone, lanes: int
) -> None:
    samples = tone(2.1)
    options = {"lanes": lanes, "normalize": "off"}
    decoded = plain.translate(samples, 16_000, **options)
    assert np.array_equal(plain.translate(samples, 16_000, shaping=0, **options), decoded)
    assert np.array_equal(able.translate(samples, 16_000, shaping=0, **options), decoded)
    found = able.translate(samples, 16_000, **options)
    assert len(found) == len(decoded)
    assert not np.allclose(found, decoded, atol=1e-3)
    assert np.array_equal(able.translate(samples, 16_000, shaping=1, **options), found)
    half = able.translate(samples, 16_000, shaping=0.5, **options)
    assert not np.allclose(half, decoded, atol=1e-3)
    assert not np.allclose(half, found, atol=1e-3)


def test_a_stream_is_shaped_alike(able: Translator, tone: Tone) -> None:
    samples = tone(0.7)
    for options in ({}, {"shaping": 0.3}):
        expected = able.translate(samples, 16_000, lanes=1, normalize="off", **options)
        pieces = list(able.stream(np.split(samples, [1, 799, 5000]), 16_000, **options))
        assert np.array_equal(np.concatenate(pieces), expected)


def test_what_is_refused(able_checkpoint: Checkpoint, plain: Translator, tone: Tone) -> None:
    with pytest.raises(UserError, match="shaping must be auto or 0, not 1"):
        plain.translate(tone(0.1), 16_000, shaping=1)
    for value in (-0.1, 1.5, float("nan"), "much", True, None):
        with pytest.raises(UserError, match="shaping must be auto or a number from 0 to 1"):
            choose_shaping(value, able=True)
    assert (choose_shaping("auto", True), choose_shaping("auto", False), choose_shaping(0, False)) == (1, 0, 0)
    config = dataclasses.replace(able_checkpoint.networks[SPECTRUM], pool=80)
    misfit = dataclasses.replace(able_checkpoint, networks={**able_checkpoint.networks, SPECTRUM: config})
    with pytest.raises(UserError, match="spectrum hears frames of 4 channels for 80 samples"):
        Translator(misfit, choose_engine("cpu", threads=1))
    stems = checkpoint_of(STEMS)
    several = dataclasses.replace(
        stems,
        networks={**stems.networks, SPECTRUM: config},
        weights={**stems.weights, SPECTRUM: able_checkpoint.weights[SPECTRUM]},
    )
    with pytest.raises(UserError, match="for a model of one branch"):
        Translator(several, choose_engine("cpu", threads=1))


def test_the_command(able_model: Path, tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path, capsys) -> None:
    recording = write_wav("in.wav", tone(0.4))
    lines = {}
    for shaping in ("auto", "0", "0.5"):
        output = tmp_path / f"{shaping}.wav"
        command = [str(recording), "-o", str(output), "--model", str(able_model), "--shaping", shaping]
        assert main(command) == 0
        lines[shaping] = capsys.readouterr().out
    assert [("shaping" in lines[name]) for name in lines] == [True, False, True]
    assert "shaping 0.5" in lines["0.5"]
    assert len({(tmp_path / f"{name}.wav").read_bytes() for name in lines}) == 3
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["shaping"], found["files"][0]["shaping"]) == (0.5, 0.5)
    for model, shaping, message in ((able_model, "2", "from 0 to 1"), (tiny_model, "1", "cannot tell the spectrum")):
        output = tmp_path / "none.wav"
        assert main([str(recording), "-o", str(output), "--model", str(model), "--shaping", shaping]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
        assert not output.exists()
