"""A network that begins as a narrower one: it computes the same, and its further channels are free to learn.

Of each weight [out, in, kernel] the narrower network's part is copied, what its outputs would hear of the further
channels is zero, and the further channels start as they are, hearing all (Net2Net's idea, Chen et al., 2016).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from musicstar_ext.architecture import NetworkConfig
from musicstar_ext.errors import UserError

from .decoder import GatedResidualLayer
from .encoder import MusicStarLayer
from .weights import load_weights

WIDTHS = ("channels", "residual_channels", "skip_channels")


def start_from_narrower(network: nn.Module, config: NetworkConfig, weights: Mapping[str, np.ndarray]) -> None:
    """Put a network's weights, whose config this is, into one that may have more channels; equal ones are copied.

    Args:
        network: any with a `config`.

    Raises:
        UserError: the networks differ in more than their widths, or a width would shrink.
    """
    own: NetworkConfig = network.config  # type: ignore[assignment]
    if config == own:
        load_weights(network, weights)
        return
    ours = dataclasses.asdict(own)
    theirs = dataclasses.asdict(config)
    if ours.keys() != theirs.keys():
        raise UserError(f"one is of the type {own.type_name}, the other {config.type_name}")
    for name, size in theirs.items():
        if ours[name] != size and (name not in WIDTHS or ours[name] < size):
            kind = "widths may only grow" if name in WIDTHS else "only widths may differ"
            raise UserError(f"{name} is {ours[name]}, and {size} in the one to start from; {kind}")
    doubled = _doubled(network)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            found = torch.from_numpy(np.ascontiguousarray(weights[name], dtype=np.float32))
            parts = 2 if name in doubled else 1
            for new, old in zip(weight.chunk(parts), found.chunk(parts), strict=True):
                rows = len(old)
                if new.ndim > 1:
                    new[:rows] = 0.0
                    new[:rows, : old.shape[1]] = old
                else:
                    new[:rows] = old


def _doubled(network: nn.Module) -> set[str]:
    """Names of weights and biases whose outputs are two halves, a gate's and a filter's, each of which widens."""
    names = set()
    for path, layer in network.named_modules():
        convolutions: tuple[str, ...] = ()
        if isinstance(layer, MusicStarLayer):
            convolutions = ("pointwise",)
        elif isinstance(layer, GatedResidualLayer):
            convolutions = ("dilated", "condition")
        names |= {f"{path}.{convolution}.{what}" for convolution in convolutions for what in ("weight", "bias")}
    return names
