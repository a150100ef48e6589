"""From an architecture to its torch module, and between modules and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from musicstar_ext.architecture import DecoderConfig, EncoderConfig, SpectrumConfig
from musicstar_ext.checkpoints import Tensors

from .decoder import WaveNetDecoder
from .encoder import MusicStarEncoder, UniversalEncoder
from .spectrum import SpectrumNetwork

WaveNet = MusicStarEncoder | UniversalEncoder | WaveNetDecoder
Network = WaveNet | SpectrumNetwork


def build_network(config: EncoderConfig | DecoderConfig | SpectrumConfig) -> Network:
    """The module of a config; the names and shapes of its `state_dict()` are the config's `tensor_shapes()`."""
    if isinstance(config, SpectrumConfig):
        return SpectrumNetwork(config)
    return WaveNetDecoder(config) if isinstance(config, DecoderConfig) else build_encoder(config)


def build_encoder(config: EncoderConfig) -> MusicStarEncoder | UniversalEncoder:
    """The encoder of Fig. 4b or 4a, as the config's kind says."""
    return MusicStarEncoder(config) if config.kind == "music-star" else UniversalEncoder(config)


def to_checkpoint_weights(state: nn.Module | Mapping[str, Tensor]) -> Tensors:
    """A module's (or state dict's) tensors as a checkpoint holds them: float32 numpy arrays, copied."""
    tensors = state.state_dict() if isinstance(state, nn.Module) else state
    return {name: tensor.detach().to("cpu", torch.float32).numpy().copy() for name, tensor in tensors.items()}


def load_weights(module: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Fill a module from a checkpoint's weights.

    Raises:
        RuntimeError: names or shapes differ; `checkpoints.load` has already checked them against the config.
    """
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
