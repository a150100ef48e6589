"""The running average of the weights (exponential moving average): smoother than the last weights, so often better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- keep * average + (1 - keep) * weights, after each step; `keep` grows to its value at the start.

    With keep = 0 the average is the weights themselves and costs nothing; frozen weights have none.
    """

    def __init__(self, model: nn.Module, keep: float) -> None:
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._keep = keep
        self._average = {name: weight.detach().clone() for name, weight in self._weights.items()} if keep else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after their `step`-th update, the first being 1."""
        if self._keep:
            keep = min(self._keep, (1 + step) / (10 + step))  # else the start would stay in the average for long
            torch._foreach_lerp_(list(self._average.values()), [w.detach() for w in self._weights.values()], 1 - keep)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the model's weights are the average."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._average)  # a copy, which `applied` does not exchange

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, average in self._average.items():
            average.copy_(state[name])

    def _exchange(self) -> None:
        for name, average in self._average.items():
            weight = self._weights[name]
            weight.data, self._average[name] = average, weight.data
