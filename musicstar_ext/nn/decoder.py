"""The WaveNet decoder (Music-STAR section 3, "identical to [7]"): the next sample, given the past ones and the code.

codes, one sample late -> first, kernel 2 -> r
s = 1x1(r)
every layer:   h = dilated causal convolution(r) + 1x1(condition)
z = sigmoid(first half of h) * tanh(second half of h)
r = r + 1x1(z)      s = s + 1x1(z)
head:          logits = 1x1(ReLU(1x1(ReLU(s)) + 1x1(condition)))
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from musicstar_ext import ops
from musicstar_ext.architecture import DecoderConfig

from .backends import of_each, stacked, uses_core
from .convolution import Convolution, halves, scaled_codes, shifted


class GatedResidualLayer(nn.Module):
    """One layer: the gated unit of WaveNet with local conditioning, its residual and its skip output."""

    def __init__(self, config: DecoderConfig, dilation: int) -> None:
        super().__init__()
        residual = config.residual_channels
        self.dilated = Convolution(residual, 2 * residual, config.kernel_size, dilation, causal=True)
        self.condition = Convolution(config.condition_channels, 2 * residual)
        self.residual = Convolution(residual, residual)
        self.skip = Convolution(residual, config.skip_channels)

    def forward(self, r: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """R [B, T, R] and the frames [B, F, C] -> the next r, and this layer's part of the skip sum [B, T, S]."""
        h = add_to_frames(self.dilated(r), self.condition(condition))  # [B, T, 2R]
        gate, filter_ = halves(h)
        z = torch.sigmoid(gate) * torch.tanh(filter_)  # [B, T, R]
        return r + self.residual(z), self.skip(z)


class WaveNetDecoder(nn.Module):
    """The autoregressive decoder under teacher forcing: all samples at once, as in training."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.first = Convolution(1, config.residual_channels, config.kernel_size, causal=True)
        self.first_skip = Convolution(config.residual_channels, config.skip_channels)
        self.layers = nn.ModuleList(GatedResidualLayer(config, dilation) for dilation in config.dilations)
        self.head = Convolution(config.skip_channels, config.skip_channels)
        self.head_condition = Convolution(config.condition_channels, config.skip_channels)
        self.logits = Convolution(config.skip_channels, config.classes)

    def forward(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Logits of every sample given those before it.

        Args:
            codes: [B, T] mu-law codes of any integer type, the sequence that the decoder is to predict.
            condition: [B, C, F], frame f for the samples f * pool to (f + 1) * pool - 1.

        Returns:
            [B, classes, T]; column t depends on codes[:, :t] only. (The memory order is [B, T, classes].)

        Raises:
            ValueError: the frames do not cover the samples.
        """
        length, pool = codes.shape[1], self.config.pool
        frames = -(-length // pool)
        if condition.shape[2] < frames:
            raise ValueError(f"{length} samples need {frames} condition frames of {pool}, not {condition.shape[2]}")
        condition = condition[:, :, :frames].transpose(1, 2)  # [B, F, C]
        x = shifted(scaled_codes(codes, self.first.bias), -1)  # zero, not a code, before the first sample
        x = functional.pad(
            x, (0, 0, 0, frames * pool - length)
        )  # whole frames: the decoder is causal, so this is harmless

        r = self.first(x)  # [B, T, R]
        s = self.first_skip(r)  # [B, T, S]
        s = s + (self._stack(r, condition) if uses_core(self.layers, r) else self._layers(r, condition))
        s = add_to_frames(self.head(torch.relu(s)), self.head_condition(condition))
        return self.logits(torch.relu(s))[:, :length].transpose(1, 2)

    def _layers(self, r: Tensor, condition: Tensor) -> Tensor:
        """The skip sum [B, T, S] of all layers, as the equations are written."""
        total = torch.zeros((), dtype=r.dtype, device=r.device)
        for layer in self.layers:
            r, skip = layer(r, condition)
            total = total + skip
        return total

    def _stack(self, r: Tensor, condition: Tensor) -> Tensor:
        """The same in one operation of the core, the condition projected for all layers at once."""
        layers, used = self.layers, len(self.layers) - 1  # what the last layer would add to r reaches no output
        weight = stacked(layers, "condition.weight").flatten(0, 1).squeeze(-1)  # [L * 2R, C]
        # Summed one by one: gradients of a sum of stacks would be views of one memory, which `+=` changes for all.
        bias = torch.stack(list(map(torch.add, of_each(layers, "condition.bias"), of_each(layers, "dilated.bias"))))
        projected = functional.linear(condition, weight, bias.flatten()).unflatten(2, bias.shape)  # [B, F, L, 2R]
        total = ops.gated_residual_stack(
            r,
            projected.permute(2, 0, 1, 3),
            stacked(layers, "dilated.weight"),
            stacked(layers, "residual.weight", used).squeeze(-1),
            stacked(layers, "residual.bias", used),
            stacked(layers, "skip.weight").squeeze(-1),
            self.config.dilations,
            self.config.pool,
        )
        return total + reduce(torch.add, of_each(layers, "skip.bias"))


def add_to_frames(x: Tensor, frames: Tensor) -> Tensor:
    """Add frame f to each of its samples, f * pool to (f + 1) * pool - 1: [B, F * pool, C] + [B, F, C].

    The same as repeating the condition before its 1x1, at a `pool`-th of the products.
    """
    count = frames.shape[1]
    return (x.unflatten(1, (count, x.shape[1] // max(count, 1))) + frames.unsqueeze(2)).flatten(1, 2)
