"""What a method of Table 1 is to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from musicstar_ext.checkpoints import Branch, Checkpoint
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError
from musicstar_ext.nn import Network

from .recipe import Recipe

if TYPE_CHECKING:
    from musicstar_ext.separation.network import SeparatorNetwork  # demucs is optional


class Method(nn.Module, ABC):
    """A model that knows what it hears, its loss, and which of its networks a checkpoint holds.

    Attributes:
        name: as in Table 1, lower case with hyphens; also the command's METHOD.
        config_type: its `Recipe`, with the sizes of its networks; the defaults are the paper's.
        requires: {field of the config that names a checkpoint: the method that makes it}. Where such a field is empty,
            the command trains that method first.
        crops_are: mu-law "codes", uint8 [B, T], or "audio", float32 [B, channels, T] with full scale at 1.
        full_rate: whether it is trained on the set's full-rate copy, where it has one.
        unit: of the loss.
        trained: whether it has anything of its own to train; one that has not only assembles its checkpoint from those
            that it builds on.
        domains: {"source": domain, "target": domain}; a method that does not translate has no target.
        tracks: everything that it crops from the set.
        augmented_tracks: those of `tracks` of which it wants a pitch-shifted twin as well, as `"<track> augmented"`.
        noted_stems: stems of which training crops come with their notes, `"<stem> notes"`, float32 [B, F, 88].
        guidance: `Checkpoint.guidance`: 1 where its decoders learn to play without a code, too.
        frame_samples: crops are whole multiples of this; one frame of the notes.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[Recipe]]
    requires: ClassVar[dict[str, str]] = {}
    crops_are: ClassVar[Literal["codes", "audio"]] = "codes"
    full_rate: ClassVar[bool] = False
    unit: ClassVar[str] = "nats"
    trained: ClassVar[bool] = True
    domains: dict[str, str]
    tracks: tuple[str, ...]
    augmented_tracks: tuple[str, ...] = ()
    noted_stems: tuple[str, ...] = ()
    guidance: float | None = None
    frame_samples: int

    @abstractmethod
    def __init__(self, config: Any, domains: Mapping[str, list[str]]) -> None:
        """Build the networks.

        Args:
            config: a `config_type`.
            domains: {domain: its stems} of the training set, in its order; stems at the same position correspond.

        Raises:
            UserError: the set lacks a domain that the method needs, or a checkpoint that it builds on does not fit.
        """
        super().__init__()

    @classmethod
    def config_for(cls, config: Any, prepared: PreparedSet) -> Any:
        """The config, completed with what the audio of the set decides: its rate, its channels.

        Raises:
            UserError: the config contradicts the set.
        """
        return config

    @abstractmethod
    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        """Start the weights, given how often each code occurs in each of the `tracks` ([256]; none for audio)."""

    def look(self, crops: Mapping[str, Tensor]) -> None:
        """Start what depends on the audio itself, given the first crops; most methods have nothing of the kind."""

    def tracks_at(self, step: int) -> tuple[str, ...]:
        """The tracks that a training step needs: `tracks`, or fewer where steps take turns."""
        return self.tracks

    @abstractmethod
    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """What a training step minimises, a scalar; `crops` holds the same span of each track of `tracks_at`."""

    def validation_loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """What held-out crops of all `tracks` are judged by, a scalar in `unit`; the best checkpoint has the lowest."""
        return self.loss(crops)

    @abstractmethod
    def networks(self) -> Mapping[str, Network | SeparatorNetwork]:
        """The networks of a checkpoint, which `translate` runs."""

    @abstractmethod
    def branches(self) -> tuple[Branch, ...]:
        """How a checkpoint's networks translate."""

    def assembled(self) -> Checkpoint:
        """The whole checkpoint of a method that is not `trained`.

        Raises:
            UserError: it is one that is.
        """
        raise UserError(f"{self.name} is trained, not put together")
