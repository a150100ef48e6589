"""A prepared set whose two stems a small separator soon tells apart: one plays low tones, the other high ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from musicstar_ext.data.prepared_writer import write_description, write_piece

RATE = 8_000
DOMAINS = {"low-high": ["low", "high"], "deep-shrill": ["deep", "shrill"]}
SMALL_SEPARATOR = ["network.channels=6", "network.depth=3", "network.lstm_layers=1", "network.oversampling=1"]


def tones(seed: int, samples: int, lowest: float, rate: int = RATE) -> np.ndarray:
    """[samples] int16: decaying tones of 1/8 s within a fifth from `lowest` hertz up."""
    length = rate // 8
    pitches = lowest * 2 ** (np.random.default_rng(seed).integers(0, 8, samples // length + 1) / 12)
    phase = 2 * np.pi * np.cumsum(np.repeat(pitches, length)[:samples]) / rate
    decay = np.tile(np.exp(-3 * np.arange(length) / length), samples // length + 1)[:samples]
    return (6000 * decay * np.sin(phase)).astype(np.int16)


def write_toy_set(folder: Path, seconds: float = 3.0, channels: int = 1, rate: int = RATE) -> Path:
    """Two training pieces, one of validation and one of test, of all six tracks; mixtures are sums of their stems."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for number, split in enumerate(("train", "train", "validation", "test")):
        samples = round((seconds + number / 7) * rate)
        tracks = {}
        for domain, (low, high) in DOMAINS.items():
            tracks[low] = tones(2 * number, samples, 150.0, rate)
            tracks[high] = tones(2 * number + 1, samples, 1200.0, rate)
            tracks[domain] = tracks[low] + tracks[high]
        if channels == 2:
            tracks = {track: np.stack([audio, audio // 2], axis=1) for track, audio in tracks.items()}
        entries[f"piece-{number}"] = write_piece(folder, f"piece-{number}", tracks, rate, {"split": split})
    write_description(folder, rate, DOMAINS, entries, {"command": "tests"}, channels)
    return folder
