"""What a method of Table 1 is to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from musicstar_ext.nn import Network

from .recipe import Recipe


class Method(nn.Module, ABC):
    """A model that knows what it hears, its loss, and which of its networks a checkpoint holds.

    Attributes:
        name: as in Table 1, lower case with hyphens; also the command's METHOD.
        config_type: its `Recipe`, with the sizes of its networks; the defaults are the paper's.
        domains: {"source": domain, "target": domain}.
        tracks: what is cropped from the set for each step.
        frame_samples: crops are whole multiples of this.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[Recipe]]
    domains: dict[str, str]
    tracks: tuple[str, ...]
    frame_samples: int

    @abstractmethod
    def __init__(self, config: Any, domains: Mapping[str, object]) -> None:
        """Build the networks.

        Args:
            config: a `config_type`.
            domains: those of the training set, in its order.

        Raises:
            UserError: the set lacks a domain that the method needs.
        """
        super().__init__()

    @abstractmethod
    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        """The start of the weights, given how often each code occurs in each of the `tracks`: [256]."""

    @abstractmethod
    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """The loss in nats a sample; `crops` holds codes [B, T] of each of the `tracks`."""

    @abstractmethod
    def networks(self) -> dict[str, Network]:
        """The networks of a checkpoint, which `translate` runs."""
