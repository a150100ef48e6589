"""Who computes the residual layers of the networks: the core's fused stacks, or torch, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter

import torch
from torch import Tensor, nn

from musicstar_ext import ops
from musicstar_ext.errors import UserError
from musicstar_ext.runtime import gpus

BACKENDS = ("auto", "core", "torch")
_chosen = "auto"


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Within this block, of this process, networks compute their residual layers with:

    auto    the core's stacks where they are fast and known to be right: float32 tensors (and autocast) on the CPU, and
            bfloat16 (also by autocast) on GPUs of `runtime.gpus.PROVEN_CAPABILITIES`; else torch, as where a hook
            waits for a layer. This is how it is without a block.
    core    the core's stacks, always: in float64 the scalar reference, an error where there is none.
    torch   plain torch operations: the equations, layer by layer, as the oracle.

    Raises:
        UserError: an unknown name.
    """
    global _chosen
    if name not in BACKENDS:
        raise UserError(f"backend must be one of {', '.join(BACKENDS)}, not {name!r}")
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


def uses_core(layers: nn.ModuleList, x: Tensor) -> bool:
    """Whether these residual layers go through the core for an input like x."""
    if _chosen != "auto":
        return _chosen == "core"
    if next(layers.parameters()).dtype != torch.float32 or _are_hooked(layers):
        return False
    if x.device.type == "cuda" and not _is_fast_on_cuda(x):
        return False
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        x = x.new_empty(0, dtype=torch.float32)
    return ops.supports(x)


def _is_fast_on_cuda(x: Tensor) -> bool:
    """In float32 the core's stacks are there for checking: torch's own products, with TF32, are faster."""
    half = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.bfloat16
    if not (half or x.dtype == torch.bfloat16):
        return False
    return torch.cuda.get_device_capability(x.device) in gpus.PROVEN_CAPABILITIES


def _are_hooked(layers: nn.ModuleList) -> bool:
    """Whether someone wants to see a layer's input, output or gradient, which a stack does not show."""
    if torch.compiler.is_compiling():
        return False
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in layers.modules()
    )


def of_each(layers: Sequence[nn.Module] | nn.ModuleList, name: str) -> list[Tensor]:
    """The tensor of this name, "skip.bias", of every layer."""
    return list(map(attrgetter(name), layers))


def stacked(layers: Sequence[nn.Module] | nn.ModuleList, name: str, used: int | None = None) -> Tensor:
    """The tensor of this name, "dilated.weight", of every layer: [L, ...]. Only the first `used` get a gradient."""
    tensors = of_each(layers, name)
    used = len(tensors) if used is None else used
    return torch.stack(tensors[:used] + [tensor.detach() for tensor in tensors[used:]])
