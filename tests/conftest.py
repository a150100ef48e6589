"""What many tests share: tiny models with random weights, and music-like signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicstar_ext import checkpoints
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.checkpoints import Checkpoint

RATE = 16_000

MakeCheckpoint = Callable[..., Checkpoint]


@pytest.fixture(scope="session")
def make_checkpoint() -> MakeCheckpoint:
    """make_checkpoint(encoder config, decoder config): random weights that keep the activations' size through the layers."""

    def weights(config: EncoderConfig | DecoderConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
        arrays = {}
        for name, shape in config.tensor_shapes().items():
            scale = 0.1 if len(shape) == 1 else 1.5 / np.sqrt(np.prod(shape[1:]))
            arrays[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
        return arrays

    def make(encoder: EncoderConfig, decoder: DecoderConfig) -> Checkpoint:
        rng = np.random.default_rng(0)
        return Checkpoint(
            method="mixture-supervised",
            networks={"encoder": encoder, "decoder": decoder},
            weights={"encoder": weights(encoder, rng), "decoder": weights(decoder, rng)},
            domains={"source": "strings-piano", "target": "clarinet-vibraphone"},
            levels={"source": -20.0, "target": -22.0},
            step=7,
            training={"data": "random numbers", "losses": {"first": 5.5, "last": 5.5}},
        )

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_checkpoint: MakeCheckpoint) -> Checkpoint:
    """Both networks with 8 channels; frames of 160 samples."""
    encoder = EncoderConfig(blocks=1, layers=4, channels=8, code_channels=4, pool=160)
    decoder = DecoderConfig(
        blocks=1, layers=4, residual_channels=8, skip_channels=8, condition_channels=4, classes=256, pool=160
    )
    return make_checkpoint(encoder, decoder)


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_checkpoint` as a file."""
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    checkpoints.save(tiny_checkpoint, path)
    return path


@pytest.fixture(scope="session")
def tone() -> Callable[..., np.ndarray]:
    """tone(seconds, rate, amplitude): [seconds * rate] float32, a chord with a little noise so that no sample repeats."""

    def make(seconds: float, rate: int = RATE, amplitude: float = 0.1) -> np.ndarray:
        t = np.arange(round(seconds * rate)) / rate
        chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6)) / 3
        return (amplitude * (chord + 0.05 * np.random.default_rng(1).standard_normal(len(t)))).astype(np.float32)

    return make


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """write_wav(name, samples, rate, subtype): a 16-bit WAV in the test's folder; returns its path."""

    def write(name: str, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
        path = tmp_path / name
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    return write
