"""The encoders' residual layers, gated (Fig. 4b) or plain (Fig. 4a), as one torch operation (stacks.h of the core)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from . import checks
from .operation import StackOperation

NAME = "glu_residual_stack"


def glu_residual_stack(
    x: Tensor,
    dilated: Tensor,
    dilated_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    dilations: Sequence[int],
    gated: bool = True,
) -> Tensor:
    """All layers of a Music-STAR encoder, or (`gated` false) of the universal one; centred, the weights of L stacked.

        a_l[t] = ReLU(dilated_bias[l] + sum_k dilated[l][:, :, k] x_l[t + (k - K // 2) dilations[l]])
        p_l[t] = pointwise[l] a_l[t] + pointwise_bias[l]
        x_(l+1) = x_l + p_l[:C] * sigmoid(p_l[C:])   where gated,   x_l + p_l   where not

    Args:
        x: [B, T, C], the first layer's input; every layer takes zero for what is before and behind it.
        dilated: [L, C, C, K].
        dilated_bias: [L, C].
        pointwise: [L, 2C, C] where gated, else [L, C, C].
        pointwise_bias: [L, 2C] or [L, C].
        dilations: L of them, each at least 1.
        gated: Fig. 4b's GLU; Fig. 4a has a plain 1x1.

    Returns:
        x_L, [B, T, C].

    Raises:
        UserError: a shape, dtype or device that does not fit, in one line.
    """
    return _operation(x, dilated, dilated_bias, pointwise, pointwise_bias, list(dilations), gated)


def _sizes(inputs: dict[str, Tensor], dilations: Sequence[int], gated: bool) -> dict[str, Any]:
    batch, time, c = inputs["x"].shape
    layers, k, p = len(dilations), inputs["dilated"].shape[3], 2 * c if gated else c
    shapes = {
        "x": (batch, time, c),
        "dilated": (layers, c, c, k),
        "dilated_bias": (layers, c),
        "pointwise": (layers, p, c),
        "pointwise_bias": (layers, p),
    }
    checks.check_tensors(NAME, inputs, shapes)
    checks.check_dilations(NAME, dilations)
    return {
        "gated": gated,
        "batch": batch,
        "time": time,
        "channels": c,
        "kernel_size": k,
        "dilations": list(dilations),
    }


_operation = StackOperation(
    NAME,
    "GluResidualStack",
    {"x": 3, "dilated": 4, "dilated_bias": 2, "pointwise": 3, "pointwise_bias": 2},
    {"dilations": "int[]", "gated": "bool"},
    _sizes,
    result_channels="channels",
)
