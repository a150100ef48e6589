"""Style: how much a translation sounds like the target's instruments: the cosine that a triplet network gives.

The score is the mean over segments of 8 s of cos(embedding of the output, embedding of the true recording): 1 at best.
As the network is trained on the user's own set, a score says something only beside those of the source and of the true
recording from the same network.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.samples import Audio
from musicstar_ext.tensor_file import read_tensors, write_tensors

from .mfcc import MFCC, mfcc, segments
from .recording import cut_to_shortest
from .triplet import TripletNetwork, tensor_shapes, weights_of

KIND = "style"
SUFFIX = ".safetensors"
SEGMENTS_AT_ONCE = 256


class StyleModel:
    """A trained network, with what is known about it.

    Attributes:
        description: its domains, its data, and how well it tells styles apart; the card beside the file says the same.
    """

    def __init__(self, network: TripletNetwork, description: dict[str, Any]) -> None:
        self.network = network.eval()
        self.description = description

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StyleModel:
        """Read a network of `evaluate train-style`.

        Raises:
            UserError: the file is missing, damaged, or something else.
        """
        tensors, description = read_tensors(path, KIND, tensor_shapes())
        if any((tensors[name] < 0).any() for name in tensors if name.endswith("running_var")):
            raise UserError(f"{path}: a variance is negative")
        if not all(isinstance(description.get(key), str) for key in ("target", "source")):
            raise UserError(f"{path}: its header is damaged (no domains)")
        network = TripletNetwork()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, strict=False)
        return cls(network, description)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        weights = {name: tensor.cpu().numpy() for name, tensor in weights_of(self.network).items()}
        write_tensors(path, KIND, weights, self.description)

    def embed(self, frames: MFCC) -> torch.Tensor:
        """[segments, 12, 256] -> [segments, 64]."""
        with torch.inference_mode():
            return torch.cat([self.network(torch.from_numpy(np.ascontiguousarray(part))) for part in _parts(frames)])

    def cosine(self, output: Audio, gold: Audio, cache: Cache | None = None) -> float:
        """Mean over segments of the cosine of two 16 kHz recordings [N], cut to the shorter.

        Raises:
            MissingExtraError: librosa is not installed.
        """
        cut = cut_to_shortest([output, gold])
        first, second = (self.embed(segments(mfcc(samples, cache))) for samples in cut)
        return float(functional.cosine_similarity(first, second).clamp(-1, 1).mean())


def _parts(frames: MFCC) -> list[MFCC]:
    return [frames[first : first + SEGMENTS_AT_ONCE] for first in range(0, len(frames), SEGMENTS_AT_ONCE)]
