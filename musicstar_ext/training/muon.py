"""Muon: momentum whose step, for each weight matrix, has all singular values near 1 (Jordan et al., 2024).

The gradient of a weight matrix has a few large singular values and many small ones, so that Adam's step moves the
weights in few directions. Muon makes the step orthogonal, with a polynomial that needs only matrix products:

    M = momentum * M + G,   U = G + momentum * M,   W = W - rate * 0.2 sqrt(max(rows, columns)) * orthogonal(U)

The factor (Liu et al., 2025) gives the step the size of Adam's, so that one learning rate serves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic; chosen by its authors for a steep start at 0
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For convolutions' weights: [out, in, kernel] counts as the matrix [out, in * kernel]."""

    def __init__(
        self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[tuple(weight.shape)].append(weight)
            for weights in by_shape.values():  # one batched product for all weights of a shape
                updates = torch.stack([self._momentum(weight, group["momentum"]) for weight in weights])
                steps = orthogonal(updates.flatten(2)).view_as(updates)
                size = 0.2 * max(weights[0].shape[0], weights[0][0].numel()) ** 0.5
                torch._foreach_add_(weights, list(steps.unbind()), alpha=-group["lr"] * size)

    def _momentum(self, weight: Tensor, momentum: float) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(momentum).add_(weight.grad)
        return weight.grad + momentum * state["momentum"]


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices with all singular values 1, roughly (0.7 to 1.2): [N, rows, columns] -> the same shape."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-12)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
