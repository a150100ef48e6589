"""The two WaveNet encoders of Music-STAR (Fig. 4): mu-law codes in, a slow code of the music out.

    codes [B, T] -> start -> blocks x layers of [dilated convolution, 1x1, + input] -> 1x1 -> mean over `pool` samples

The encoders see the whole recording, past and future (nothing here is causal). They differ in one layer's inside only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from musicstar_ext import ops
from musicstar_ext.architecture import EncoderConfig

from .backends import stacked, uses_core
from .convolution import Convolution, halves, scaled_codes


class UniversalLayer(nn.Module):
    """Fig. 4a: x + 1x1(ReLU(dilated convolution(x)))."""

    def __init__(self, config: EncoderConfig, dilation: int) -> None:
        super().__init__()
        self.dilated = Convolution(config.channels, config.channels, config.kernel_size, dilation)
        self.pointwise = Convolution(config.channels, config.pointwise_channels)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, C]
        return x + self.pointwise(torch.relu(self.dilated(x)))


class MusicStarLayer(UniversalLayer):
    """Fig. 4b: x + GLU(1x1(ReLU(dilated convolution(x)))); GLU is the first half times the sigmoid of the second."""

    def forward(self, x: Tensor) -> Tensor:  # [B, T, C]
        value, gate = halves(self.pointwise(torch.relu(self.dilated(x))))
        return x + value * torch.sigmoid(gate)


class _Encoder(nn.Module):
    """What both encoders share."""

    layer: type[UniversalLayer]

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.start = Convolution(1, config.channels, config.kernel_size)
        self.layers = nn.ModuleList(self.layer(config, dilation) for dilation in config.dilations)
        self.code = Convolution(config.channels, config.code_channels)

    def forward(self, codes: Tensor) -> Tensor:
        """Mu-law codes [B, T], of any integer type -> code frames [B, C, F], F = T // pool."""
        x = self.start(scaled_codes(codes, self.start.bias))  # [B, T, channels]
        x = self._stack(x) if uses_core(self.layers, x) else self._layers(x)
        frames = codes.shape[1] // self.config.pool
        x = x[:, : frames * self.config.pool].unflatten(1, (frames, self.config.pool)).mean(dim=2)
        return self.code(x).transpose(1, 2)  # a mean and a 1x1 commute: the 1x1 is done on the few frames

    def _layers(self, x: Tensor) -> Tensor:
        """All layers, as the equations are written: [B, T, channels] -> the same."""
        for layer in self.layers:
            x = layer(x)
        return x

    def _stack(self, x: Tensor) -> Tensor:
        """The same in one operation of the core."""
        return ops.glu_residual_stack(
            x,
            stacked(self.layers, "dilated.weight"),
            stacked(self.layers, "dilated.bias"),
            stacked(self.layers, "pointwise.weight").squeeze(-1),
            stacked(self.layers, "pointwise.bias"),
            self.config.dilations,
            gated=self.config.kind == "music-star",
        )


class UniversalEncoder(_Encoder):
    """Fig. 4a, the encoder of the universal music translation network [7]; 3 blocks of 10 layers in the paper."""

    layer = UniversalLayer


class MusicStarEncoder(_Encoder):
    """Fig. 4b, Music-STAR's own: gated, deeper; 4 blocks of 14 layers (a receptive field of 8.2 s) in the paper."""

    layer = MusicStarLayer
