"""Stem-supervised Music-STAR: one autoencoder a target instrument, each from the whole source mixture to its stem.

An encoder of Fig. 4b hears the source mixture, its WaveNet decoder is teacher-forced with one stem of the target, and
the loss is the cross-entropy of that stem's next sample. A translation is the sum of what the decoders play.

The autoencoders share no weight, so one run trains all of them at once: with Adam a step is the same as in runs of
their own with the same crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicstar_ext.checkpoints import Branch
from musicstar_ext.nn import ByStem, Network, WaveNetDecoder, build_encoder

from .autoencoder import AutoencoderRecipe, reconstruction_loss
from .method import Method


@dataclass(frozen=True)
class StemSupervisedConfig(AutoencoderRecipe):
    """As mixture-supervised: Adam 3e-4, decay 0.99 an epoch, batches of 16 crops of 1 s, 100 epochs, full size."""


class StemSupervised(Method):
    """An encoder and a decoder for each stem of the target domain."""

    name = "stem-supervised"
    config_type = StemSupervisedConfig

    def __init__(self, config: StemSupervisedConfig, domains: Mapping[str, list[str]]) -> None:
        super().__init__(config, domains)
        source, target = config.direction(domains)
        self.config = config
        self.domains = {"source": source, "target": target}
        self.stems = tuple(domains[target])
        self.tracks = (source, *self.stems)
        self.frame_samples = config.encoder.pool
        self.encoders = ByStem({stem: build_encoder(config.encoder) for stem in self.stems})
        self.decoders = ByStem({stem: WaveNetDecoder(config.decoder) for stem in self.stems})

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        for stem in self.stems:
            self.config.start(self.encoders[stem])
            self.config.start(self.decoders[stem], code_counts[stem])

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the next sample in nats, the mean over the stems."""
        mixture = crops[self.domains["source"]]
        losses = [
            reconstruction_loss(self.decoders[stem], self.encoders[stem](mixture), crops[stem]) for stem in self.stems
        ]
        return torch.stack(losses).mean()

    def networks(self) -> dict[str, Network]:
        return {**self.encoders.named("encoder"), **self.decoders.named("decoder")}

    def branches(self) -> tuple[Branch, ...]:
        source = self.domains["source"]
        return tuple(Branch(source, stem, f"encoder.{stem}", f"decoder.{stem}") for stem in self.stems)
