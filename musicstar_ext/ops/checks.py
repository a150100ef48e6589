"""What the residual stacks take: devices, dtypes, shapes. Everything else is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.core import core

_DTYPES = {"cpu": (torch.float32, torch.float64), "cuda": (torch.float32, torch.bfloat16)}


def supports(x: Tensor) -> bool:
    """Whether the stacks take an x of this device and dtype, in this build of the core."""
    if x.dtype not in _DTYPES.get(x.device.type, ()):
        return False
    return x.device.type == "cpu" or bool(core.cuda_build())


def check_ranks(operation: str, tensors: Mapping[str, Tensor], ranks: Mapping[str, int]) -> None:
    """Every tensor has its number of dimensions.

    Raises:
        UserError: the first that has not.
    """
    for name, tensor in tensors.items():
        if tensor.dim() != ranks[name]:
            raise UserError(f"{operation}: {name} must have {ranks[name]} dimensions, not {tensor.dim()}")


def check_tensors(operation: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """The core computes with x's like, and every tensor has its shape, x's device and the dtype that goes with x's.

    Raises:
        UserError: the first that has not.
    """
    x = tensors["x"]
    if x.device.type != "meta":
        _check_kind(operation, x)
    others = torch.float32 if x.device.type == "cuda" else x.dtype
    for name, tensor in tensors.items():
        if tensor.device != x.device:
            raise UserError(f"{operation}: {name} is on {tensor.device}, x on {x.device}")
        if name != "x" and tensor.dtype != others:
            raise UserError(f"{operation}: {name} must be {_name(others)}, not {_name(tensor.dtype)}")
        if any(found != wanted for found, wanted in zip(tensor.shape, shapes[name], strict=True)):
            raise UserError(f"{operation}: {name} must be {list(shapes[name])}, not {list(tensor.shape)}")


def check_dilations(operation: str, dilations: Sequence[int]) -> None:
    """Dilations are at least 1.

    Raises:
        UserError: one is not.
    """
    if any(dilation < 1 for dilation in dilations):
        raise UserError(f"{operation}: dilations must be at least 1, not {min(dilations)}")


def _check_kind(operation: str, x: Tensor) -> None:
    device = x.device.type
    if device not in _DTYPES:
        raise UserError(f"{operation}: x is on {x.device}; the core has kernels for the CPU and for CUDA")
    if device == "cuda" and not core.cuda_build():
        raise UserError(f"{operation}: x is on {x.device}, and the compiled module was built without CUDA")
    if x.dtype not in _DTYPES[device]:
        names = " or ".join(map(_name, _DTYPES[device]))
        raise UserError(f"{operation}: x must be {names} on this device, not {_name(x.dtype)}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
