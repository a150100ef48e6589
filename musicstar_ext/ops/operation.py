"""How a residual stack becomes a torch operation: its schema, its devices, shapes, autograd and autocast.

An operation is two of torch's: `NAME_forward(tensors, parameters, save) -> (result, saved)` and
`NAME_backward(result_gradient, saved, tensors, parameters, wanted) -> gradients`. `saved` is opaque memory, empty where
no backward will come, and `wanted` says which gradients to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from musicstar_ext.errors import UserError

from . import calls, checks

NAMESPACE = "musicstar_ext"
_library = torch.library.Library(NAMESPACE, "DEF")

Sizes = Callable[..., dict[str, Any]]  # (tensors by name, parameters...) -> what the core's class takes, or UserError


class StackOperation:
    """A residual stack, registered with torch under its name.

    Args:
        name: of the operation.
        kind: of the core's class.
        ranks: {tensor argument: its number of dimensions}, x first.
        parameters: {argument: its type in a schema} behind the tensors.
        sizes: from arguments of these ranks to the core's sizes; it checks shapes, dtypes, devices and parameters.
        result_channels: which of the sizes is the width of the result [B, T, width].
    """

    def __init__(
        self,
        name: str,
        kind: str,
        ranks: Mapping[str, int],
        parameters: Mapping[str, str],
        sizes: Sizes,
        result_channels: str,
    ) -> None:
        self.name, self._kind, self._ranks, self._sizes_of = name, kind, dict(ranks), sizes
        self._count, self._result_channels = len(ranks), result_channels
        arguments = [f"Tensor {tensor}" for tensor in ranks] + [f"{type_} {key}" for key, type_ in parameters.items()]
        tensors = ", ".join("Tensor" for _ in ranks)
        forward, backward = f"{name}_forward", f"{name}_backward"
        _library.define(f"{forward}({', '.join(arguments)}, bool save) -> (Tensor, Tensor)")
        _library.define(
            f"{backward}(Tensor result_gradient, Tensor saved, {', '.join(arguments)}, bool[] wanted) -> ({tensors})"
        )
        for device in ("CPU", "CUDA"):
            _library.impl(forward, self._forward, device)
            _library.impl(backward, self._backward, device)
        torch.library.register_fake(f"{NAMESPACE}::{forward}", self._fake_forward, lib=_library)
        torch.library.register_fake(f"{NAMESPACE}::{backward}", self._fake_backward, lib=_library)
        torch.library.register_autograd(
            f"{NAMESPACE}::{forward}", self._gradient, setup_context=self._keep, lib=_library
        )
        torch.library.register_autograd(f"{NAMESPACE}::{backward}", _no_second_gradient, lib=_library)
        _library.impl(forward, self._under_autocast("cpu", torch.float32), "AutocastCPU")
        _library.impl(forward, self._under_autocast("cuda", torch.bfloat16), "AutocastCUDA")

    def __call__(self, *arguments: Any) -> Tensor:
        """The result of tensors and parameters. Memory for a backward is kept only where one can come."""
        save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in arguments[: self._count])
        result: Tensor = self._operation("forward")(*arguments, save)[0]
        return result

    def _operation(self, direction: str) -> Any:
        return getattr(torch.ops.musicstar_ext, f"{self.name}_{direction}")

    def _checked(self, arguments: tuple[Any, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name and the core's sizes, from tensors and parameters."""
        inputs = dict(zip(self._ranks, arguments, strict=False))
        checks.check_ranks(self.name, inputs, self._ranks)
        return inputs, self._sizes_of(inputs, *arguments[self._count :])

    def _result(self, inputs: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> Tensor:
        return inputs["x"].new_empty(sizes["batch"], sizes["time"], sizes[self._result_channels])

    def _forward(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        inputs, sizes = self._checked(arguments[:-1])
        inputs = {name: calls.dense(tensor) for name, tensor in inputs.items()}
        stack = calls.make_stack(self._kind, inputs["x"], sizes)
        result = self._result(inputs, sizes)
        return result, calls.run_forward(stack, inputs, result, save=arguments[-1])

    def _backward(self, result_gradient: Tensor, saved: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        inputs, sizes = self._checked(arguments[:-1])
        inputs = {name: calls.dense(tensor) for name, tensor in inputs.items()}
        expected = self._result(inputs, sizes)
        if result_gradient.shape != expected.shape or result_gradient.dtype != expected.dtype:
            raise UserError(f"{self.name}: the result's gradient must be {list(expected.shape)} in x's dtype")
        stack = calls.make_stack(self._kind, inputs["x"], sizes)
        return calls.run_backward(stack, inputs, calls.dense(result_gradient), saved, wanted=arguments[-1])

    def _fake_forward(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        inputs, sizes = self._checked(arguments[:-1])
        x, save = inputs["x"], arguments[-1]
        bytes_: int | torch.SymInt = 0
        if save and any(isinstance(size, torch.SymInt) for size in sizes.values()):
            bytes_ = torch.library.get_ctx().new_dynamic_size()  # the core's layout is its own business
        elif save:
            bytes_ = calls.make_stack(self._kind, x, sizes).saved_bytes
        return self._result(inputs, sizes), x.new_empty(bytes_, dtype=torch.uint8)

    def _fake_backward(self, result_gradient: Tensor, saved: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        return calls.gradients_like(arguments[: self._count], arguments[-1])

    def _keep(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)  # there would be zeros of the size of all that is saved
        ctx.save_for_backward(output[1], *inputs[: self._count])
        *ctx.parameters, ctx.saves = inputs[self._count :]

    def _gradient(self, ctx: Any, result_gradient: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        gradients: list[Tensor | None] = [None] * self._count
        if result_gradient is not None:
            if not ctx.saves:
                raise UserError(f"{self.name}_forward was told to save nothing: there is no backward")
            wanted = list(ctx.needs_input_grad[: self._count])
            found = self._operation("backward")(result_gradient, *ctx.saved_tensors, *ctx.parameters, wanted)
            gradients = [gradient if asked else None for gradient, asked in zip(found, wanted, strict=True)]
        return (*gradients, *(None for _ in ctx.parameters), None)

    def _under_autocast(self, device: str, sequence: torch.dtype) -> Callable[..., Any]:
        """The forward with x in the dtype `sequence` and all else in float32; float64 stays as it is."""

        def cast(*arguments: Any) -> Any:
            wanted = [sequence] + [torch.float32] * (self._count - 1)
            tensors = [
                tensor if tensor.dtype == torch.float64 else tensor.to(dtype)
                for tensor, dtype in zip(arguments, wanted, strict=False)
            ]
            with torch.autocast(device, enabled=False):
                return self._operation("forward")(*tensors, *arguments[self._count :])

        return cast


def _no_second_gradient(ctx: Any, *gradients: Any) -> Any:
    raise UserError("the residual stacks have no second derivative; within nn.backend('torch') networks have")
