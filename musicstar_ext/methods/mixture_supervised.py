"""Mixture-supervised Music-STAR, the paper's best method: straight from one domain's mixture to the other's.

One encoder of Fig. 4b and one WaveNet decoder are trained together: the encoder hears the source mixture, the decoder
is teacher-forced with the target mixture of the same span, and the loss is the cross-entropy of its next sample.

Options that are not in the paper make short trainings learn more: `teacher_noise`; `note_weight`; `learns`, for an
encoder that learns the notes before there is a decoder to listen to it, and a decoder that then learns to play from it;
and `code_dropout`, for a decoder that also plays without a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicstar_ext.checkpoints import Branch
from musicstar_ext.data.rolls import ROLL
from musicstar_ext.errors import UserError
from musicstar_ext.nn import Network, WaveNetDecoder, build_encoder

from .autoencoder import AutoencoderRecipe, reconstruction_loss
from .method import Method
from .note_reader import NoteReader


@dataclass(frozen=True)
class MixtureSupervisedConfig(AutoencoderRecipe):
    """The paper's recipe: Adam 3e-4, decay 0.99 an epoch, batches of 16 crops of 1 s, 100 epochs, full size."""

    teacher_noise: float = 0.0  # over the past that the decoder is taught with, largest deviation in codes
    note_weight: float = 0.0  # of a second loss, for which the code must tell the notes
    code_dropout: float = 0.0  # share of the crops whose code is zero: the decoder learns to play without one, too
    learns: Literal["both", "encoder", "decoder"] = "both"  # the other stays as it is; an encoder alone learns notes

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.code_dropout <= 1, "code_dropout", "at most 1")
        if self.learns == "encoder" and not self.note_weight:
            raise UserError("learns=encoder needs a note_weight: without a decoder there is nothing else to learn")
        if self.learns == "encoder" and (self.code_dropout or self.teacher_noise):
            raise UserError("learns=encoder has no use for code_dropout and teacher_noise: the decoder stays as it is")
        if self.learns == "decoder" and self.note_weight:
            raise UserError("learns=decoder has no use for note_weight: the encoder stays as it is")


class MixtureSupervised(Method):
    """Encoder and decoder of one direction, trained together."""

    name = "mixture-supervised"
    config_type = MixtureSupervisedConfig

    def __init__(self, config: MixtureSupervisedConfig, domains: Mapping[str, list[str]]) -> None:
        super().__init__(config, domains)
        source, target = config.direction(domains)
        self.config = config
        self.domains = {"source": source, "target": target}
        self.tracks = (source, target)
        self.frame_samples = config.encoder.pool
        self.encoder = build_encoder(config.encoder)
        self.decoder = WaveNetDecoder(config.decoder)
        if config.learns != "both":
            idle = self.decoder if config.learns == "encoder" else self.encoder
            idle.requires_grad_(False)
        if config.code_dropout:
            self.guidance = 1.0
        if config.note_weight:
            self.noted_stems = tuple(domains[source])
            self.notes = NoteReader(config.encoder.code_channels, len(self.noted_stems))

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        self.config.start(self.encoder)
        self.config.start(self.decoder, code_counts[self.domains["target"]])

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the target's next sample, in nats; and that of the notes, where it has a weight."""
        source, target = (crops[track] for track in self.tracks)
        code, config = self.encoder(source), self.config
        if config.learns == "encoder":
            return config.note_weight * self._note_loss(code, crops)
        heard = code
        if config.code_dropout:
            heard = code * (torch.rand(len(code), 1, 1, device=code.device) >= config.code_dropout)
        loss = reconstruction_loss(self.decoder, heard, target, config.teacher_noise)
        return loss + config.note_weight * self._note_loss(code, crops) if config.note_weight else loss

    def validation_loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """The cross-entropy alone, nothing disturbed or dropped; that of the notes where the encoder learns alone."""
        config = self.config
        if not (config.teacher_noise or config.note_weight or config.code_dropout):
            return self.loss(crops)
        source, target = (crops[track] for track in self.tracks)
        code = self.encoder(source)
        if config.learns == "encoder":
            return self._note_loss(code, crops)
        return reconstruction_loss(self.decoder, code, target)

    def _note_loss(self, code: Tensor, crops: Mapping[str, Tensor]) -> Tensor:
        rolls = torch.stack([crops[ROLL.format(stem)] for stem in self.noted_stems], dim=2)  # [B, F, stems, 88]
        return self.notes.loss(code, rolls)

    def networks(self) -> dict[str, Network]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def branches(self) -> tuple[Branch, ...]:
        return (Branch(self.domains["source"], self.domains["target"]),)
