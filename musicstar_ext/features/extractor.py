"""Feature extractors, one interface: a 16 kHz recording -> for each layer [frames, channels].

A log-mel spectrogram is the control that everything else is measured beside: what can be read from it did not have to
be learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.samples import Audio

from .musicnn import FRAMES, HOP, LAYERS, RATE, Musicnn, log_mel
from .musicnn_weights import load_weights

Features = NDArray[np.float32]
"""[frames, channels]"""


class Extractor(Protocol):
    """A network, or a transform, that gives features of 16 kHz recordings.

    Attributes:
        name: for people, e.g. "musicnn".
        identity: equal for two extractors only where they give equal features: what caches are keyed with.
        layers: {layer: channels}, from the input to the output.
        default_layer: the one that is used where nothing else is said.
        frame_rate: frames a second, the same in every layer.
    """

    name: str
    identity: str
    layers: Mapping[str, int]
    default_layer: str
    frame_rate: float

    def features(self, samples: Audio, layers: Sequence[str]) -> dict[str, Features]:
        """{layer: [frames, channels]} of [N] samples at 16 kHz.

        Raises:
            UserError: an unknown layer, or an empty recording.
        """
        ...


def check_request(extractor: Extractor, samples: Audio, layers: Sequence[str]) -> None:
    """Raises UserError for a layer that the extractor does not have, and for an empty recording."""
    check_layers(extractor, layers)
    if not len(samples):
        raise UserError("the recording is empty")


def check_layers(extractor: Extractor, layers: Sequence[str]) -> None:
    """Raises UserError for a layer that the extractor does not have."""
    for layer in layers:
        if layer not in extractor.layers:
            raise UserError(f"{extractor.name} has no layer {layer!r}; it has {', '.join(extractor.layers)}")


def digest(weights: Mapping[str, NDArray]) -> str:
    """A hash of a network's weights, for `Extractor.identity`."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode())
        found.update(np.ascontiguousarray(weights[name]).tobytes())
    return found.hexdigest()[:16]


class LogMel:
    """The control: log10(1 + 10000 mel) as musicnn hears it, 96 bands every 16 ms."""

    name = "log-mel"
    identity = "log-mel-512-256-96"
    layers: Mapping[str, int] = {"log-mel": 96}
    default_layer = "log-mel"
    frame_rate = RATE / HOP

    def features(self, samples: Audio, layers: Sequence[str] = ("log-mel",)) -> dict[str, Features]:
        """{"log-mel": [1 + N // 256, 96]}.

        Raises:
            UserError: an unknown layer, or an empty recording.
            MissingExtraError: librosa is not installed.
        """
        check_request(self, samples, layers)
        return {layer: log_mel(samples) for layer in layers}


class MusicnnLayers:
    """musicnn's VGG: five pools and the tags; a frame is a patch of 3 s (a shorter recording is repeated).

    Args:
        path: its converted weights (default: the shipped ones).

    Raises:
        UserError: no weights, or damaged ones.
    """

    name = "musicnn"
    layers: Mapping[str, int] = LAYERS
    default_layer = "pool5"
    frame_rate = RATE / (HOP * FRAMES)

    def __init__(self, path: Path | None = None) -> None:
        weights = load_weights(path)
        self.identity = f"musicnn-{digest(weights)}"
        self._network = Musicnn(weights)

    def features(self, samples: Audio, layers: Sequence[str] = ("pool5",)) -> dict[str, Features]:
        """{layer: [patches, channels]}: a pool's mean over the patch's time.

        Raises:
            UserError: an unknown layer, or an empty recording.
            MissingExtraError: librosa is not installed.
        """
        check_request(self, samples, layers)
        return self._network.features(samples, layers)
