"""The optimizer of a recipe: Adam for all weights as in the paper, or Muon for the matrices between hidden channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from musicstar_ext.methods import Recipe

from .muon import Muon

SMALLEST_MATRIX = 8  # rows and columns that a matrix must have for Muon: not the first convolutions' one channel


class Optimizers:
    """One or two optimizers, each for its own weights, that step together at one learning rate; frozen ones stay.

    Attributes:
        matrices: the weights that Muon steps; Adam steps the others.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        hidden = {name for name, weight in weights.items() if recipe.optimizer == "muon" and _is_hidden(name, weight)}
        self.matrices = [weights[name] for name in weights if name in hidden]
        others = [weights[name] for name in weights if name not in hidden]
        self._all: list[torch.optim.Optimizer] = []
        if others:
            self._all.append(torch.optim.Adam(others, recipe.learning_rate, foreach=True))
        if self.matrices:
            self._all.append(Muon(self.matrices, recipe.learning_rate))

    def step(self, learning_rate: float) -> None:
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self._all:
            optimizer.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def _is_hidden(name: str, weight: torch.Tensor) -> bool:
    """Whether a weight is a matrix between hidden channels; the last layer's logits are not."""
    return weight.ndim == 3 and min(weight.shape[:2]) >= SMALLEST_MATRIX and "logits" not in name
