"""A linear reading of the notes from the code, for training only: what the code tells of them, it learns to tell early.

By the next sample's cross-entropy alone a decoder learns local prediction first, and the code means nothing for a long
time. The notes that a rendered set knows teach the encoder from the first step; no checkpoint holds the reader.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from musicstar_ext.data.rolls import KEYS

POSITIVE_WEIGHT = 5.0  # of a key that sounds: of 88, few do
SOUNDING = 0.03  # share of keys that do, roughly: where the reading starts


class NoteReader(nn.Module):
    """Code frames -> the logit of each key of each stem; it starts at zero weights, so that it disturbs nothing."""

    def __init__(self, code_channels: int, stems: int) -> None:
        super().__init__()
        self.stems = stems
        self.weight = nn.Parameter(torch.zeros(stems * KEYS, code_channels))
        odds = POSITIVE_WEIGHT * SOUNDING / (1 - SOUNDING)
        self.bias = nn.Parameter(torch.full((stems * KEYS,), odds).log())

    def forward(self, code: Tensor) -> Tensor:
        """[B, C, F] -> logits [B, F, stems, 88]."""
        return functional.linear(code.transpose(1, 2), self.weight, self.bias).unflatten(2, (self.stems, KEYS))

    def loss(self, code: Tensor, rolls: Tensor) -> Tensor:
        """Cross-entropy in nats, keys that sound counting more; a sum over the keys, a mean over everything else.

        Shape:
            code [B, C, F], rolls [B, F, stems, 88] of 0 .. 1 -> a scalar.
        """
        weight = torch.full((), POSITIVE_WEIGHT, device=rolls.device)
        logits = self(code).float()
        losses = functional.binary_cross_entropy_with_logits(logits, rolls, pos_weight=weight, reduction="none")
        return losses.sum(dim=3).mean()
