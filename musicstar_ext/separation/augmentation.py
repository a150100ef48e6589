"""How Demucs' training varies its stems (the published code's shift, flips and remix, in that order).

All random numbers come from torch's CPU generator, wherever the audio is: a training that seeds it for each step, or
saves and restores its state, draws the same ones again when it is resumed.
"""

from __future__ import annotations

import torch
from torch import Tensor

REMIX_GROUP = 4
"""Rows of a batch among which stems are exchanged, as published: independent of the batch size and of the number of
processes that share it."""


def shift(stems: Tensor, most: int) -> Tensor:
    """Start each stem at its own random sample from 0 to `most`: [B, S, C, T] -> [B, S, C, T - most]."""
    rows, sources, channels, samples = stems.shape
    starts = torch.randint(most + 1, (rows, sources, 1, 1))
    index = starts + torch.arange(samples - most)
    return stems.gather(-1, index.to(stems.device).expand(-1, -1, channels, -1))


def flip(stems: Tensor) -> Tensor:
    """Turn the sign of each stem, and exchange its two channels where it has two, each with probability 1/2."""
    rows, sources, channels, _ = stems.shape
    if channels == 2:
        swapped = torch.randint(2, (rows, sources, 1, 1), dtype=torch.bool).to(stems.device)
        stems = torch.where(swapped, stems.flip(2), stems)
    signs = 2 * torch.randint(2, (rows, sources, 1, 1)) - 1
    return stems * signs.to(stems)


def remix(stems: Tensor, group: int = REMIX_GROUP) -> Tensor:
    """Mixtures that nobody played: each stem's rows are shuffled within every `group` rows, apart from the others'."""
    rows, sources = stems.shape[:2]
    order = torch.rand(rows, sources).double()
    order += torch.arange(rows).div(group, rounding_mode="floor").unsqueeze(1)  # sorting keeps the groups apart
    permutations = order.argsort(dim=0).to(stems.device)
    return stems.gather(0, permutations[..., None, None].expand_as(stems))


def augmented(stems: Tensor, longest_shift: int) -> Tensor:
    """Shifted, flipped and remixed stems: [B, S, C, T] -> [B, S, C, T - longest_shift]."""
    return remix(flip(shift(stems, longest_shift)))
