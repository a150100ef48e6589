"""Random residual stacks for the tests of their torch operations, and the same stacks in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from musicstar_ext import ops


@dataclass(frozen=True)
class Case:
    """An operation, the same in plain torch, the tensors that both take, and what comes behind them."""

    operation: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    parameters: tuple[Any, ...]

    def run(self, operation: Callable[..., Tensor], wanted: Sequence[int] | None = None) -> list[Tensor | None]:
        """The result, and the gradients of the wanted tensors (all), None for the others."""
        wanted = range(len(self.tensors)) if wanted is None else wanted
        leaves = [tensor.detach().clone().requires_grad_(i in wanted) for i, tensor in enumerate(self.tensors)]
        result = operation(*leaves, *self.parameters)
        if wanted:
            weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
            result.backward(weights.to(result.dtype))
        return [result.detach(), *(leaf.grad for leaf in leaves)]


def gated(
    batch: int = 2,
    time: int = 29,
    residual: int = 5,
    skip: int = 7,
    dilations: tuple[int, ...] = (1, 2, 40),
    kernel_size: int = 2,
    pool: int = 10,
    dtype: torch.dtype = torch.float32,
) -> Case:
    layers, frames = len(dilations), max(1, -(-time // pool))
    random = _random(dtype)
    tensors = (
        random(batch, time, residual),
        random(layers, batch, frames, 2 * residual),
        random(layers, 2 * residual, residual, kernel_size, scale=residual**-0.5),
        random(layers, residual, residual, scale=residual**-0.5),
        random(layers, residual),
        random(layers, skip, residual, scale=residual**-0.5),
    )
    return Case(ops.gated_residual_stack, plain_gated, tensors, (dilations, pool))


def glu(
    batch: int = 2,
    time: int = 29,
    channels: int = 5,
    dilations: tuple[int, ...] = (1, 2, 40),
    kernel_size: int = 3,
    is_gated: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Case:
    layers, outputs = len(dilations), 2 * channels if is_gated else channels
    random = _random(dtype)
    tensors = (
        random(batch, time, channels),
        random(layers, channels, channels, kernel_size, scale=channels**-0.5),
        random(layers, channels),
        random(layers, outputs, channels, scale=channels**-0.5),
        random(layers, outputs),
    )
    return Case(ops.glu_residual_stack, plain_glu, tensors, (dilations, is_gated))


def plain_gated(
    x: Tensor,
    condition: Tensor,
    dilated: Tensor,
    residual: Tensor,
    residual_bias: Tensor,
    skip: Tensor,
    dilations: Sequence[int],
    pool: int,
) -> Tensor:
    frames = torch.arange(x.shape[1]) // pool
    result = x.new_zeros(*x.shape[:2], skip.shape[1])
    for layer, dilation in enumerate(dilations):
        past = (dilated.shape[3] - 1) * dilation
        taps = functional.conv1d(functional.pad(x.transpose(1, 2), (past, 0)), dilated[layer], dilation=dilation)
        gate, filter_ = (taps.transpose(1, 2) + condition[layer][:, frames]).chunk(2, dim=2)
        z = torch.sigmoid(gate) * torch.tanh(filter_)
        result = result + z @ skip[layer].T
        x = x + z @ residual[layer].T + residual_bias[layer]
    return result


def plain_glu(
    x: Tensor,
    dilated: Tensor,
    dilated_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    dilations: Sequence[int],
    is_gated: bool,
) -> Tensor:
    for layer, dilation in enumerate(dilations):
        kernel_size = dilated.shape[3]
        before, behind = kernel_size // 2 * dilation, (kernel_size - 1 - kernel_size // 2) * dilation
        padded = functional.pad(x.transpose(1, 2), (before, behind))
        a = torch.relu(functional.conv1d(padded, dilated[layer], dilated_bias[layer], dilation=dilation))
        p = a.transpose(1, 2) @ pointwise[layer].T + pointwise_bias[layer]
        if is_gated:
            value, gate = p.chunk(2, dim=2)
            p = value * torch.sigmoid(gate)
        x = x + p
    return x


def _random(dtype: torch.dtype) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int, scale: float = 0.5) -> Tensor:
        return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype)

    return draw
