"""Mixture-supervised Music-STAR, the paper's best method: straight from one domain's mixture to the other's.

One encoder of Fig. 4b and one WaveNet decoder are trained together: the encoder hears the source mixture, the decoder
is teacher-forced with the target mixture of the same span, and the loss is the cross-entropy of its next sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicstar_ext.checkpoints import Branch
from musicstar_ext.nn import Network, WaveNetDecoder, build_encoder

from .autoencoder import AutoencoderRecipe, reconstruction_loss
from .method import Method


@dataclass(frozen=True)
class MixtureSupervisedConfig(AutoencoderRecipe):
    """The paper's recipe: Adam 3e-4, decay 0.99 an epoch, batches of 16 crops of 1 s, 100 epochs, full size."""


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

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        self.config.start(self.encoder)
        self.config.start(self.decoder, code_counts[self.domains["target"]])

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the target's next sample, in nats."""
        source, target = (crops[track] for track in self.tracks)
        return reconstruction_loss(self.decoder, self.encoder(source), target)

    def networks(self) -> dict[str, Network]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def branches(self) -> tuple[Branch, ...]:
        return (Branch(self.domains["source"], self.domains["target"]),)
