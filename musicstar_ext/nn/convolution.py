"""The one building block of every network here: a dilated convolution over time, as a matrix product.

Sequences are time-major, [B, T, C]. A tap of a dilated convolution is then the same sequence moved in time, and the
convolution one matrix product over its taps side by side:

    y[t] = bias + sum_j weight[:, :, j] x[t + offset_j]          (x is zero before 0 and from T on)

    causal, K = 2:      offsets  -d, 0             the past and the present sample
    centred, K = 3:     offsets  -d, 0, +d         the usual "same" padding

On a CPU, in bfloat16, this is faster than `conv1d` on [B, C, T]: by 15 to 25 % for a decoder layer of 64 channels,
forward and backward.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Convolution(nn.Module):
    """Dilated convolution that keeps the length: [B, T, inputs] -> [B, T, outputs].

    `weight` is [outputs, inputs, kernel_size] and `bias` [outputs], named, laid out and initialised as `nn.Conv1d`'s.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int = 1, dilation: int = 1, causal: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel_size))
        self.bias = nn.Parameter(torch.empty(outputs))
        newest = kernel_size - 1 if causal else kernel_size // 2
        self.offsets = tuple((tap - newest) * dilation for tap in range(kernel_size))
        bound = 1 / math.sqrt(inputs * kernel_size)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        taps = torch.cat([shifted(x, offset) for offset in self.offsets], dim=-1) if len(self.offsets) > 1 else x
        return functional.linear(taps, self.weight.transpose(1, 2).flatten(1), self.bias)


def shifted(x: Tensor, offset: int) -> Tensor:
    """y[:, t] = x[:, t + offset], zero where that is outside of the sequence; [B, T, C] -> [B, T, C]."""
    offset = max(-x.shape[1], min(x.shape[1], offset))
    return functional.pad(x, (0, 0, -offset, offset)) if offset else x


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second half of the channels, each in its own memory: functions of a strided half are slow."""
    first, second = x.chunk(2, dim=-1)
    return first.contiguous(), second.contiguous()


def scaled_codes(codes: Tensor, like: Tensor) -> Tensor:
    """Mu-law codes [B, T] as the one input channel of a network, code/255 - 0.5: [B, T, 1] in the type of `like`."""
    return (codes.to(like.dtype) / 255 - 0.5).unsqueeze(-1)
