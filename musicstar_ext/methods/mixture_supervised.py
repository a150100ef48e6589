"""Mixture-supervised Music-STAR, the paper's best method: straight from one domain's mixture to the other's.

One encoder of Fig. 4b and one WaveNet decoder are trained together: the encoder hears the source mixture, the decoder
is teacher-forced with the target mixture of the same span, and the loss is the cross-entropy of its next sample.

Options that are not in the paper make short trainings learn more: `teacher_noise`; `note_weight` and `spectrum_weight`,
further losses that ask the code for the notes and for the target's spectrum; `learns`, for an encoder that learns these
before there is a decoder to listen to it, and a decoder that then learns to play from it; and `code_dropout`, for a
decoder that also plays without a code. The network that reads the spectrum stays in the checkpoint (docs/shaping.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicstar_ext.architecture import SpectrumConfig
from musicstar_ext.checkpoints import SPECTRUM, Branch
from musicstar_ext.data.rolls import ROLL
from musicstar_ext.errors import UserError
from musicstar_ext.nn import Network, SpectrumNetwork, WaveNetDecoder, build_encoder
from musicstar_ext.nn.spectrum import distance, mu_law_decoded, power_spectra

from .autoencoder import AutoencoderRecipe, reconstruction_loss, require_equal
from .method import Method
from .note_reader import NoteReader


@dataclass(frozen=True)
class MixtureSupervisedConfig(AutoencoderRecipe):
    """The paper's recipe: Adam 3e-4, decay 0.99 an epoch, batches of 16 crops of 1 s, 100 epochs, full size."""

    teacher_noise: float = 0.0  # over the past that the decoder is taught with, largest deviation in codes
    note_weight: float = 0.0  # of a second loss, for which the code must tell the notes
    code_dropout: float = 0.0  # share of the crops whose code is zero: the decoder learns to play without one, too
    spectrum_weight: float = 0.0  # of another, for which the code must tell the target's spectrum
    spectrum: SpectrumConfig = field(default_factory=SpectrumConfig)
    learns: Literal["both", "encoder", "decoder"] = "both"  # the other stays as it is

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.code_dropout <= 1, "code_dropout", "at most 1")
        if self.learns == "encoder" and not (self.note_weight or self.spectrum_weight):
            raise UserError("learns=encoder needs a note_weight or a spectrum_weight: nothing else is left to learn")
        if self.learns == "encoder" and (self.code_dropout or self.teacher_noise):
            raise UserError("learns=encoder has no use for code_dropout and teacher_noise: the decoder stays as it is")
        if self.learns == "decoder" and (self.note_weight or self.spectrum_weight):
            raise UserError("learns=decoder has no use for note_weight and spectrum_weight: the encoder stays as it is")
        if self.spectrum_weight:
            encoder, spectrum = self.encoder, self.spectrum
            require_equal("encoder.pool and spectrum.pool", encoder.pool, spectrum.pool)
            names = "encoder.code_channels and spectrum.code_channels"
            require_equal(names, encoder.code_channels, spectrum.code_channels)


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
        for name, network in (("encoder", self.encoder), ("decoder", self.decoder)):
            if config.learns not in ("both", name):
                network.requires_grad_(False)
        if config.code_dropout:
            self.guidance = 1.0
        if config.note_weight:
            self.noted_stems = tuple(domains[source])
            self.notes = NoteReader(config.encoder.code_channels, len(self.noted_stems))
        if config.spectrum_weight:
            self.spectrum = SpectrumNetwork(config.spectrum)

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        self.config.start(self.encoder)
        self.config.start(self.decoder, code_counts[self.domains["target"]])

    def look(self, crops: Mapping[str, Tensor]) -> None:
        if self.config.spectrum_weight:
            self.spectrum.start(self._power(crops)[0])

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the target's next sample, in nats; and what else the code must tell, times its weight."""
        config = self.config
        code = self.encoder(crops[self.domains["source"]])
        losses = [self._played_loss(code, crops)] if config.learns in ("both", "decoder") else []
        if config.note_weight:
            losses.append(config.note_weight * self._note_loss(code, crops))
        if config.spectrum_weight:
            losses.append(config.spectrum_weight * self._spectrum_loss(code, crops))
        return sum(losses[1:], losses[0])

    def validation_loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """The cross-entropy alone, nothing disturbed or dropped.

        Where the decoder does not learn: the spectrum's distance, or where that has no weight the notes' cross-entropy.
        """
        config = self.config
        if not (config.teacher_noise or config.note_weight or config.spectrum_weight or config.code_dropout):
            return self.loss(crops)
        code = self.encoder(crops[self.domains["source"]])
        if config.learns in ("both", "decoder"):
            return reconstruction_loss(self.decoder, code, crops[self.domains["target"]])
        return self._spectrum_loss(code, crops) if config.spectrum_weight else self._note_loss(code, crops)

    def _played_loss(self, code: Tensor, crops: Mapping[str, Tensor]) -> Tensor:
        config = self.config
        if config.code_dropout:
            code = code * (torch.rand(len(code), 1, 1, device=code.device) >= config.code_dropout)
        return reconstruction_loss(self.decoder, code, crops[self.domains["target"]], config.teacher_noise)

    def _note_loss(self, code: Tensor, crops: Mapping[str, Tensor]) -> Tensor:
        rolls = torch.stack([crops[ROLL.format(stem)] for stem in self.noted_stems], dim=2)  # [B, F, stems, 88]
        return self.notes.loss(code, rolls)

    def _spectrum_loss(self, code: Tensor, crops: Mapping[str, Tensor]) -> Tensor:
        power, frames = self._power(crops)
        return distance(self.spectrum(code)[:, frames].float(), power)

    def _power(self, crops: Mapping[str, Tensor]) -> tuple[Tensor, slice]:
        return power_spectra(mu_law_decoded(crops[self.domains["target"]]), self.config.spectrum)

    def networks(self) -> dict[str, Network]:
        networks: dict[str, Network] = {"encoder": self.encoder, "decoder": self.decoder}
        return {**networks, SPECTRUM: self.spectrum} if self.config.spectrum_weight else networks

    def branches(self) -> tuple[Branch, ...]:
        return (Branch(self.domains["source"], self.domains["target"]),)
