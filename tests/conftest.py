"""What many tests share: tiny models with random weights, and music-like signals."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from random_networks import random_weights

from musicstar_ext import checkpoints
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.checkpoints import Branch, Checkpoint

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a processor: more threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

RATE = 16_000


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Checkpoint:
    """Both networks with 8 channels and random weights; frames of 160 samples."""
    encoder = EncoderConfig(blocks=1, layers=4, channels=8, code_channels=4, pool=160)
    decoder = DecoderConfig(
        blocks=1, layers=4, residual_channels=8, skip_channels=8, condition_channels=4, classes=256, pool=160
    )
    return Checkpoint(
        method="mixture-supervised",
        networks={"encoder": encoder, "decoder": decoder},
        weights={"encoder": random_weights(encoder), "decoder": random_weights(decoder)},
        domains={"source": "strings-piano", "target": "clarinet-vibraphone"},
        branches=(Branch("strings-piano", "clarinet-vibraphone"),),
        levels={"strings-piano": -20.0, "clarinet-vibraphone": -22.0},
        step=7,
        training={"data": "random numbers", "losses": {"first": 5.5, "last": 5.5}},
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_checkpoint` as a file."""
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    checkpoints.save(tiny_checkpoint, path)
    return path


@pytest.fixture(scope="session")
def tone() -> Callable[..., np.ndarray]:
    """A function (seconds, rate, amplitude) -> [seconds * rate] float32: a chord and a little noise."""

    def make(seconds: float, rate: int = RATE, amplitude: float = 0.1) -> np.ndarray:
        t = np.arange(round(seconds * rate)) / rate
        chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6)) / 3
        return (amplitude * (chord + 0.05 * np.random.default_rng(1).standard_normal(len(t)))).astype(np.float32)

    return make


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """A function (name, samples, rate, subtype) that writes a WAV into the test's folder and returns its path."""

    def write(name: str, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
        path = tmp_path / name
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    return write


@pytest.fixture(scope="session")
def starnet_clips() -> Path:
    """StarNet's test clips `NNN.S.wav`: the folder that MUSICSTAR_CLIPS names, or `shared/starnet_clips` nearby."""
    named, root = os.environ.get("MUSICSTAR_CLIPS"), Path(__file__).parents[1]
    for folder in [Path(named)] if named else [place / "shared" / "starnet_clips" for place in (root, root.parent)]:
        if (folder / "001.0.wav").exists():
            return folder
    pytest.skip("needs StarNet's test clips: set MUSICSTAR_CLIPS to their folder")
