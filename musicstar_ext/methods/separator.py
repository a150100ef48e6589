"""Demucs for the separation-based row of Table 1: one domain's mixture, split into its stems.

Trained from scratch for each domain, on the full-rate copy of a set that has one. The network hears the sum of the
stems, remixed over the batch, and the loss is the mean absolute error of the stems that it gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from musicstar_ext.architecture import SeparatorConfig, SeparatorSizes
from musicstar_ext.checkpoints import Branch
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError

from .method import Method
from .recipe import Recipe

if TYPE_CHECKING:
    from musicstar_ext.separation.network import SeparatorNetwork


@dataclass(frozen=True)
class DemucsConfig(Recipe):
    """The paper's recipe: Adam 3e-4, batches of 32, 250 epochs, and a full-size network.

    Crops are as in Demucs' 2019 code: 11 s, of which a random 10 s of each stem are heard (`shift_seconds`).
    `source` names the domain to separate, left empty the set's first. `sample_rate` and `audio_channels` are the
    set's own, and are filled in when a run starts.
    """

    batch: int = 32
    crop_seconds: float = 11.0
    epochs: int = 250
    decay: float = 1.0

    source: str = ""
    shift_seconds: float = 1.0
    sample_rate: int = 0
    audio_channels: int = 0
    network: SeparatorSizes = field(default_factory=SeparatorSizes)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.shift_seconds < self.crop_seconds, "shift_seconds", "below crop_seconds")


class DemucsSeparator(Method):
    """A waveform Demucs for the stems of one domain."""

    name = "demucs"
    config_type = DemucsConfig
    crops_are = "audio"
    full_rate = True
    unit = "L1"

    def __init__(self, config: DemucsConfig, domains: Mapping[str, list[str]]) -> None:
        from musicstar_ext.separation.network import SeparatorNetwork  # demucs is optional

        super().__init__(config, domains)
        source = config.source or next(iter(domains))
        if source not in domains:
            raise UserError(f"source must be one of the domains ({', '.join(domains)}), not {source!r}")
        self.config = config
        self.domains = {"source": source}
        self.tracks = tuple(domains[source])
        self.frame_samples = 1
        self.separator = SeparatorNetwork(
            SeparatorConfig(
                **dataclasses.asdict(config.network),
                sources=self.tracks,
                sample_rate=config.sample_rate or SeparatorConfig.sample_rate,
                audio_channels=config.audio_channels or SeparatorConfig.audio_channels,
            )
        )

    @classmethod
    def config_for(cls, config: DemucsConfig, prepared: PreparedSet) -> DemucsConfig:
        """The config with the set's rate and channels.

        Raises:
            UserError: it asks for others.
        """
        found: dict[str, Any] = {"sample_rate": prepared.sample_rate, "audio_channels": prepared.channels}
        for name, value in found.items():
            if getattr(config, name) not in (0, value):
                raise UserError(f"{name}={getattr(config, name)}, but the audio to train on has {value}")
        return dataclasses.replace(config, **found)

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        """Nothing: Demucs rescales its weights when it is built, as published."""

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Mean absolute error on shifted, flipped and remixed stems."""
        from musicstar_ext.separation.augmentation import augmented

        stems = self._stems(crops)
        heard = self._heard(stems.shape[-1])
        most = stems.shape[-1] - heard
        return self._error(augmented(stems, most))

    def validation_loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Mean absolute error on the stems as they are."""
        stems = self._stems(crops)
        return self._error(stems[..., : self._heard(stems.shape[-1])])

    def _stems(self, crops: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([crops[track] for track in self.tracks], dim=1)  # [B, S, C, T]

    def _heard(self, samples: int) -> int:
        """How much of a crop the network hears: the longest length without padding that leaves room for the shift."""
        network = self.separator.config
        room = round(self.config.shift_seconds * network.sample_rate)
        return network.longest_valid_length(max(1, samples - room))

    def _error(self, stems: Tensor) -> Tensor:
        separated = self.separator(stems.sum(dim=1))
        return functional.l1_loss(separated.float(), stems)

    def networks(self) -> dict[str, SeparatorNetwork]:
        return {"separator": self.separator}

    def branches(self) -> tuple[Branch, ...]:
        """None: a separator alone translates nothing."""
        return ()
