"""The decoder's residual layers with teacher forcing, as one torch operation (csrc/include/musicstar/stacks.h)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from musicstar_ext.errors import UserError

from . import checks
from .operation import StackOperation

NAME = "gated_residual_stack"


def gated_residual_stack(
    x: Tensor,
    condition: Tensor,
    dilated: Tensor,
    residual: Tensor,
    residual_bias: Tensor,
    skip: Tensor,
    dilations: Sequence[int],
    pool: int,
) -> Tensor:
    """The skip sum of all layers of a WaveNet decoder (Music-STAR section 3), causal, the weights of L layers stacked.

        h_l[t] = sum_k dilated[l][:, :, k] x_l[t - (K - 1 - k) dilations[l]] + condition[l][t // pool]
        z_l[t] = sigmoid(h_l[t][:R]) * tanh(h_l[t][R:])
        x_(l+1) = x_l + residual[l] z_l + residual_bias[l]
        result = sum over l of skip[l] z_l

    Args:
        x: [B, T, R], the first layer's input; zero is taken for what is before it.
        condition: [L, B, F, 2R], for every layer and frame of `pool` samples all that is added to h: the projected
            condition and its and the convolution's biases. F * pool must be at least T.
        dilated: [L, 2R, R, K] with tap K - 1 the newest; the first R outputs are the gate.
        residual: [L, R, R]; the last layer's is not used.
        residual_bias: [L, R].
        skip: [L, S, R]. Its biases are the caller's to add.
        dilations: L of them, each at least 1.
        pool: samples a frame.

    Returns:
        [B, T, S].

    Raises:
        UserError: a shape, dtype or device that does not fit, in one line.
    """
    return _operation(x, condition, dilated, residual, residual_bias, skip, list(dilations), pool)


def _sizes(inputs: dict[str, Tensor], dilations: Sequence[int], pool: int) -> dict[str, Any]:
    batch, time, r = inputs["x"].shape
    layers, frames = len(dilations), inputs["condition"].shape[2]
    s, k = inputs["skip"].shape[1], inputs["dilated"].shape[3]
    shapes = {
        "x": (batch, time, r),
        "condition": (layers, batch, frames, 2 * r),
        "dilated": (layers, 2 * r, r, k),
        "residual": (layers, r, r),
        "residual_bias": (layers, r),
        "skip": (layers, s, r),
    }
    checks.check_tensors(NAME, inputs, shapes)
    checks.check_dilations(NAME, dilations)
    if pool < 1 or frames * pool < time:
        raise UserError(f"{NAME}: {frames} frames of {pool} do not cover {time} samples")
    return {
        "batch": batch,
        "time": time,
        "residual": r,
        "skip": s,
        "kernel_size": k,
        "dilations": list(dilations),
        "frames": frames,
        "pool": pool,
    }


_operation = StackOperation(
    NAME,
    "GatedResidualStack",
    {"x": 3, "condition": 4, "dilated": 4, "residual": 3, "residual_bias": 2, "skip": 3},
    {"dilations": "int[]", "pool": "int"},
    _sizes,
    result_channels="skip",
)
