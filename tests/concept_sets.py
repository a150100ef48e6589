"""Small sets of concepts, and an extractor whose features can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from musicstar_ext.concepts.concept_file import ConceptSet
from musicstar_ext.features.extractor import check_request

RATE = 16_000


def make_concepts(**changes) -> ConceptSet:
    """Three concepts of five tracks, in four channels."""
    random = np.random.default_rng(5)
    members = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], np.uint8)
    features = random.normal(size=(5, 4)).astype(np.float32)
    parts = {
        "names": ("lute", "viol", "harp"),
        "tracks": tuple(f"{number}.wav" for number in range(5)),
        "extractor": "toy",
        "layer": "bands",
        "vectors": random.normal(size=(3, 4)).astype(np.float32),
        "biases": random.normal(size=3).astype(np.float32),
        "means": (members.T @ features / members.sum(axis=0)[:, None]).astype(np.float32),
        "features": features,
        "members": members,
        "balanced_accuracy": np.array([0.9, 0.8, 0.6]),
        "auc": np.array([0.95, 0.85, np.nan]),
        "kept": np.array([True, True, False]),
        "clusters": {"lute": "plucked", "harp": "plucked"},
        "parents": {"lute": "plucked", "plucked": "strings"},
        "details": {"extractor": "toy-1"},
    }
    return ConceptSet(**{**parts, **changes})


class ToyExtractor:
    """Level of four bands of the spectrum, a frame every 0.1 s; a second layer that is noise, whatever is heard."""

    name = "toy"
    identity = "toy-1"
    layers: Mapping[str, int] = {"bands": 4, "noise": 3}
    default_layer = "bands"
    frame_rate = 10.0

    def __init__(self) -> None:
        self.calls = 0

    def features(self, samples: np.ndarray, layers: Sequence[str] = ("bands",)) -> dict[str, np.ndarray]:
        check_request(self, samples, layers)
        self.calls += 1
        frames = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
        spectra = np.abs(np.fft.rfft(frames))[:, 1:]
        bands = np.log(1e-3 + np.stack([part.mean(axis=1) for part in np.array_split(spectra[:, :80], 4, axis=1)], 1))
        noise = np.random.default_rng(int(1e6 * np.abs(samples).sum()) % 2**32).normal(size=(len(frames), 3))
        return {layer: {"bands": bands, "noise": noise}[layer].astype(np.float32) for layer in layers}


def tone(frequency: float, seconds: float, seed: int) -> np.ndarray:
    """A sine with a little noise, [N] float32 at 16 kHz."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    level = random.uniform(0.1, 0.5)
    sine = level * np.sin(2 * np.pi * frequency * random.uniform(0.98, 1.02) * t + random.uniform(0, 6))
    return (sine + 0.01 * random.standard_normal(len(t))).astype(np.float32)
