"""What the methods with an encoder and a decoder of their own share: fitting sizes, their start and the loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.nn import Network, WaveNetDecoder
from musicstar_ext.nn.initialisation import preserve_variance, start_from_histogram

from .direction import DirectionRecipe


@dataclass(frozen=True)
class AutoencoderRecipe(DirectionRecipe):
    """A recipe with the sizes of an encoder and of a decoder that fits it."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for ours, theirs, names in (
            (self.encoder.pool, self.decoder.pool, "encoder.pool and decoder.pool"),
            (
                self.encoder.code_channels,
                self.decoder.condition_channels,
                "encoder.code_channels and decoder.condition_channels",
            ),
        ):
            if ours != theirs:
                raise UserError(f"{names} must be equal, not {ours} and {theirs}")
        if self.decoder.classes != 256:
            raise UserError(f"decoder.classes must be 256, the number of mu-law codes, not {self.decoder.classes}")

    def start(self, network: Network, code_counts: NDArray[np.int64] | None = None) -> None:
        """Start a network's weights as `initialisation` says; a decoder's from its track's code counts [256]."""
        if self.initialisation == "variance-preserving":
            preserve_variance(network)
            if isinstance(network, WaveNetDecoder) and code_counts is not None:
                start_from_histogram(network, code_counts)


def reconstruction_loss(decoder: WaveNetDecoder, code: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of each next sample, in nats: the decoder hears the teacher's past and the code.

    Shape:
        code [B, C, F], teacher [B, T] mu-law codes, F >= T / pool -> a scalar, the mean over B and T.
    """
    logits = decoder(teacher, code)  # [B, 256, T]
    return functional.cross_entropy(logits.transpose(1, 2).flatten(0, 1).float(), teacher.flatten().long())
