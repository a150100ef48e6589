"""What the methods with an encoder and a decoder of their own share: fitting sizes, their start and the loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.nn import WaveNetDecoder
from musicstar_ext.nn.initialisation import preserve_variance, start_from_histogram
from musicstar_ext.nn.weights import WaveNet

from .direction import DirectionRecipe


@dataclass(frozen=True)
class AutoencoderRecipe(DirectionRecipe):
    """A recipe with the sizes of an encoder and of a decoder that fits it."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        encoder, decoder = self.encoder, self.decoder
        require_equal("encoder.pool and decoder.pool", encoder.pool, decoder.pool)
        names = "encoder.code_channels and decoder.condition_channels"
        require_equal(names, encoder.code_channels, decoder.condition_channels)
        if self.decoder.classes != 256:
            raise UserError(f"decoder.classes must be 256, the number of mu-law codes, not {self.decoder.classes}")

    def start(self, network: WaveNet, code_counts: NDArray[np.int64] | None = None) -> None:
        """Start a network's weights as `initialisation` says; a decoder's from its track's code counts [256]."""
        if self.initialisation == "variance-preserving":
            preserve_variance(network)
            if isinstance(network, WaveNetDecoder) and code_counts is not None:
                start_from_histogram(network, code_counts)


def require_equal(names: str, ours: int, theirs: int) -> None:
    """Raises UserError where two sizes, "one and other", differ."""
    if ours != theirs:
        raise UserError(f"{names} must be equal, not {ours} and {theirs}")


def reconstruction_loss(decoder: WaveNetDecoder, code: Tensor, teacher: Tensor, noise: float = 0.0) -> Tensor:
    """Cross-entropy of each next sample, in nats: the decoder hears the teacher's past and the code.

    Args:
        noise: how much of it the decoder hears over that past (`disturbed`); what it is to predict stays clean.

    Shape:
        code [B, C, F], teacher [B, T] mu-law codes, F >= T / pool -> a scalar, the mean over B and T.
    """
    logits = decoder(disturbed(teacher, noise) if noise else teacher, code)  # [B, 256, T]
    return functional.cross_entropy(logits.transpose(1, 2).flatten(0, 1).float(), teacher.flatten().long())


def disturbed(codes: Tensor, most: float) -> Tensor:
    """Mu-law codes under normal noise, whose deviation is drawn for each row from 0 .. `most` codes; [B, T] uint8.

    A decoder that plays hears its own draws, not the true past. One that was trained with noise over the past learns to
    put such errors right, and has to rely on the code where the past is unclear.
    """
    deviation = most * torch.rand(len(codes), 1, device=codes.device)
    noise = deviation * torch.randn(codes.shape, device=codes.device)
    return (codes + noise).round().clamp(0, 255).to(torch.uint8)
