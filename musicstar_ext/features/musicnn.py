"""musicnn's VGG (Pons and Serra 2019), trained on the Million Song Dataset to give 50 tags, restated in torch.

The input is a log-mel patch of 187 frames (about 3 s) by 96 bands, at 16 kHz, n_fft 512, hop 256:

    log10(1 + 10000 mel) -> BatchNorm -> 5 x [3x3 convolution, 128 filters, "same" -> ReLU -> BatchNorm -> max-pool]
    pools (window / stride, time x frequency): 4x1 / 2x2, then three times 2x2 / 2x2, then 4x4 / 4x4
    187 x 96 -> 92 x 48 -> 46 x 24 -> 23 x 12 -> 11 x 6 -> 2 x 1, flattened -> 50 tags (sigmoid)

The published extractor computes the mel spectrum in half precision, in which loud frames become infinite; here it is
float32, equal but for half precision's rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module
from musicstar_ext.runtime.samples import Audio

from .musicnn_weights import CHANNELS, load_weights

RATE = 16_000
WINDOW, HOP, BANDS = 512, 256, 96
FRAMES = 187  # in a patch
POOLS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))
EPSILON = 1e-3  # of every BatchNorm
PATCHES_AT_ONCE = 16

LAYERS = {"pool1": 6144, "pool2": 3072, "pool3": 1536, "pool4": 768, "pool5": 128, "tags": 50}
"""Size of a layer's features: frequency x channels after the mean over a patch's time; of the tags, their number."""


def log_mel(samples: Audio) -> NDArray[np.float32]:
    """log10(1 + 10000 mel) of a 16 kHz recording: [1 + samples // 256, 96].

    Raises:
        MissingExtraError: librosa is not installed.
    """
    librosa = extra_module("librosa")
    mel = librosa.feature.melspectrogram(y=samples, sr=RATE, hop_length=HOP, n_fft=WINDOW, n_mels=BANDS)
    return np.ascontiguousarray(np.log10(1 + 10_000 * mel.T), np.float32)


def patches(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """[frames, 96] -> [patches, 187, 96]: one after the other, as published; what is left over is left out.

    A recording below one patch (3 s) is repeated until it fills one.

    Raises:
        UserError: no frames.
    """
    if not len(frames):
        raise UserError("there are no frames")
    if len(frames) < FRAMES:
        frames = np.tile(frames, (-(-FRAMES // len(frames)), 1))[:FRAMES]
    count = len(frames) // FRAMES
    return frames[: count * FRAMES].reshape(count, FRAMES, BANDS)


class Vgg(nn.Module):
    """Log-mel patches [B, 187, 96] -> {layer: features}; `pool1` ... `pool5` are [B, 128, time, frequency]."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [1, *[CHANNELS] * len(POOLS)]
        self.input_norm = nn.BatchNorm2d(1, eps=EPSILON)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS, eps=EPSILON) for _ in POOLS)
        self.tags = nn.Linear(2 * CHANNELS, LAYERS["tags"])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.input_norm(x[:, None])
        layers = {}
        for number, (window, stride) in enumerate(POOLS):
            x = self.norms[number](torch.relu(self.convolutions[number](x)))
            x = functional.max_pool2d(x, window, stride)
            layers[f"pool{number + 1}"] = x
        flat = x.permute(0, 2, 3, 1).flatten(1)  # as TensorFlow lays it out: time, frequency, channel
        return {**layers, "tags": torch.sigmoid(self.tags(flat))}


class Musicnn:
    """The trained network as a feature extractor.

    Args:
        weights: {name: array} as `musicnn_weights` converts them.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self.network = Vgg().eval()
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}
        self.network.load_state_dict(tensors, strict=False)  # all but BatchNorm's counters, which nothing uses

    @classmethod
    def load(cls, path: Path | None = None) -> Musicnn:
        """From a converted file, or from the shipped one.

        Raises:
            UserError: damaged weights.
        """
        return cls(load_weights(path))

    def features(self, samples: Audio, layers: Sequence[str] = ("pool5",)) -> dict[str, NDArray[np.float32]]:
        """Features of each 3 s patch of a 16 kHz recording: {layer: [patches, `LAYERS[layer]`]}.

        A pool's features are its mean over the patch's time, flattened (frequency, then channel).

        Raises:
            UserError: an unknown layer, or an empty recording.
            MissingExtraError: librosa is not installed.
        """
        for layer in layers:
            if layer not in LAYERS:
                raise UserError(f"musicnn has no layer {layer!r}; it has {', '.join(LAYERS)}")
        if not len(samples):
            raise UserError("the recording is empty")
        batch = patches(log_mel(samples))
        found: dict[str, list[NDArray[np.float32]]] = {layer: [] for layer in layers}
        with torch.inference_mode():
            for first in range(0, len(batch), PATCHES_AT_ONCE):
                computed = self.network(torch.from_numpy(batch[first : first + PATCHES_AT_ONCE]))
                for layer in layers:
                    value = computed[layer]
                    if layer != "tags":
                        value = value.mean(dim=2).transpose(1, 2).flatten(1)
                    found[layer].append(value.numpy())
        return {layer: np.concatenate(parts) for layer, parts in found.items()}
