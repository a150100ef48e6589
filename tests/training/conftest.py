"""A set of a few seconds of music-like sound, and settings with which a network learns it in moments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.data.prepared_writer import write_description, write_piece

RATE = 16_000
DOMAINS = {"bright": ["lead", "descant"], "dark": ["bass", "tenor"]}


def melody(seed: int, seconds: float, overtone: int) -> np.ndarray:
    """[seconds * RATE] int16: random notes of 1/8 s with one overtone; the same seed plays the same notes."""
    samples = round(seconds * RATE)
    notes = 220 * 2 ** (np.random.default_rng(seed).integers(0, 12, samples // 2000 + 1) / 12)
    phase = 2 * np.pi * np.cumsum(np.repeat(notes, 2000)[:samples]) / RATE
    return (6000 * np.sin(phase) + 3000 * np.sin(overtone * phase)).astype(np.int16)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_set")
    entries = {}
    for number, split in enumerate(("train", "train", "validation", "test")):
        tracks = {}
        for overtone, (domain, stems) in enumerate(DOMAINS.items(), start=2):
            tracks |= {stem: melody(2 * number + i, 2.0 + number / 7, overtone) for i, stem in enumerate(stems)}
            tracks[domain] = sum(tracks[stem] for stem in stems)
        entries[f"piece-{number}"] = write_piece(folder, f"piece-{number}", tracks, RATE, {"split": split})
    write_description(folder, RATE, DOMAINS, entries, {"command": "tests"})
    return folder


@pytest.fixture(scope="session")
def tiny_settings() -> list[str]:
    """Small networks, small batches; a report each 5 steps."""
    return [
        "encoder.blocks=1",
        "encoder.layers=3",
        "encoder.channels=8",
        "encoder.code_channels=4",
        "encoder.pool=160",
        "decoder.blocks=1",
        "decoder.layers=4",
        "decoder.residual_channels=8",
        "decoder.skip_channels=8",
        "decoder.condition_channels=4",
        "decoder.pool=160",
        "batch=2",
        "crop_seconds=0.1",
        "steps=20",
        "log_every=5",
        "validate_every=10",
        "save_every=4",
        "validation_crops=4",
        "learning_rate=3e-3",
        "threads=1",
    ]
