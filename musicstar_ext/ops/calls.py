"""Calls into the core: torch tensors as pointers, buffers from where the device's memory is cheapest.

A stack is an object of the compiled module that stands for one shape (`GatedResidualStack`, `GluResidualStack` and
their `Cuda...` twins): it says how many bytes its buffers take, and computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.core import core

_ALIGNMENT = 16  # bytes, of an array on a GPU: its rows are read in pieces of this size


def make_stack(kind: str, x: Tensor, sizes: Mapping[str, Any]) -> Any:
    """The core's object for these sizes on x's device. `kind` is its class there: "GatedResidualStack", ...

    Raises:
        UserError: the core refuses the sizes.
    """
    try:
        if x.device.type == "cuda":
            with _current(x):
                return getattr(core, f"Cuda{kind}")(**sizes, element=str(x.dtype).removeprefix("torch."))
        element = "float64" if x.dtype == torch.float64 else "float32"
        return getattr(core, kind)(**sizes, element=element, threads=torch.get_num_threads())
    except ValueError as error:
        raise UserError(str(error)) from None


def dense(tensor: Tensor) -> Tensor:
    """The tensor with its elements in order and its first one aligned: itself, or a copy."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.is_cuda and tensor.data_ptr() % _ALIGNMENT else tensor


def buffer(bytes_: int, like: Tensor) -> Tensor:
    """Uninitialised memory on the device of `like`; on the CPU from the core's pool, which spares the page faults."""
    if like.is_cuda or bytes_ == 0:
        return torch.empty(bytes_, dtype=torch.uint8, device=like.device)
    return torch.frombuffer(core.Buffer(bytes_), dtype=torch.uint8)


def run_forward(stack: Any, inputs: Mapping[str, Tensor], result: Tensor, save: bool) -> Tensor:
    """Fill `result`; return what a backward needs, uint8 [bytes], empty where nothing is to be saved."""
    saved = buffer(stack.saved_bytes if save else 0, result)
    scratch = buffer(stack.forward_bytes if save else stack.inference_bytes, result)
    with _current(result):
        stack.forward(
            **{name: tensor.data_ptr() for name, tensor in inputs.items()},
            result=result.data_ptr(),
            saved=saved.data_ptr() if save else None,
            scratch=scratch.data_ptr(),
            **_stream(result),
        )
    return saved


def run_backward(
    stack: Any, inputs: Mapping[str, Tensor], result_gradient: Tensor, saved: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor, ...]:
    """The gradients of the inputs, in their order; those that are not wanted are empty.

    Raises:
        UserError: `saved` is not what a forward of this shape saves.
    """
    if saved.numel() != stack.saved_bytes:
        raise UserError(f"a forward of this shape saves {stack.saved_bytes} bytes, not {saved.numel()}")
    gradients = gradients_like(tuple(inputs.values()), wanted)
    scratch = buffer(stack.backward_bytes, result_gradient)
    with _current(result_gradient):
        stack.backward(
            **{name: tensor.data_ptr() for name, tensor in inputs.items()},
            result_gradient=result_gradient.data_ptr(),
            **{
                f"{name}_gradient": gradient.data_ptr() if asked else None
                for name, gradient, asked in zip(inputs, gradients, wanted, strict=True)
            },
            saved=saved.data_ptr(),
            scratch=scratch.data_ptr(),
            **_stream(result_gradient),
        )
    return gradients


def gradients_like(inputs: Sequence[Tensor], wanted: Sequence[bool]) -> tuple[Tensor, ...]:
    """Uninitialised gradients of the inputs; empty ones where none is wanted."""
    return tuple(
        torch.empty_like(tensor, memory_format=torch.contiguous_format) if asked else tensor.new_empty(0)
        for tensor, asked in zip(inputs, wanted, strict=True)
    )


def _current(like: Tensor) -> AbstractContextManager[object]:
    """Makes the device of a CUDA tensor the current one, on which the core's calls launch their kernels."""
    return torch.cuda.device(like.device) if like.is_cuda else nullcontext()


def _stream(like: Tensor) -> dict[str, int]:
    """The current stream of a CUDA tensor's device, as the core's calls take it."""
    return {"stream": torch.cuda.current_stream(like.device).cuda_stream} if like.is_cuda else {}
