"""Single-instrument translation (section 3.1): the universal network's decoders, finetuned on one instrument each.

The universal encoder stays as it is. It hears a stem of the target domain, and the stem's decoder, started from the
universal network's, is teacher-forced with the same stem. To translate, the encoder hears a stem of the source domain
instead; the translated stems are summed.

The decoders share no trained weight, so one run finetunes all of them at once, each on batches of its own of the
paper's size. (Taking turns would halve each one's share of the steps.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicstar_ext.checkpoints import Branch
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.nn import ByStem, Network

from .autoencoder import reconstruction_loss
from .direction import DirectionRecipe, corresponding_stems
from .method import Method
from .prerequisites import Prerequisite


@dataclass(frozen=True)
class SingleInstrumentConfig(DirectionRecipe):
    """The paper's recipe: Adam 1e-3, decay 0.98 an epoch, batches of 16 crops of 0.75 s, 100 epochs.

    `universal` is a checkpoint of universal-network, from which the networks have their sizes.
    """

    crop_seconds: float = 0.75
    learning_rate: float = 1e-3
    decay: float = 0.98

    universal: str = ""


class SingleInstrument(Method):
    """The universal encoder, and a finetuned decoder for each stem of the target domain."""

    name = "single-instrument"
    config_type = SingleInstrumentConfig
    requires: ClassVar[dict[str, str]] = {"universal": "universal-network"}

    def __init__(self, config: SingleInstrumentConfig, domains: Mapping[str, list[str]]) -> None:
        super().__init__(config, domains)
        source, target = config.direction(domains)
        universal = Prerequisite("universal", config.universal, self.requires["universal"])
        self.config = config
        self.domains = {"source": source, "target": target}
        self.pairs = corresponding_stems(domains, source, target)
        self.tracks = self.stems = tuple(stem for _, stem in self.pairs)
        universal.require_stems(self.stems)
        self.encoder = universal.encoder().requires_grad_(False)
        self.decoders = ByStem({stem: universal.decoder(f"decoder.{stem}") for stem in self.stems})
        self.frame_samples = self.encoder.config.pool

    @classmethod
    def config_for(cls, config: SingleInstrumentConfig, prepared: PreparedSet) -> SingleInstrumentConfig:
        """The config itself.

        Raises:
            UserError: the universal network was trained at another sample rate than the set's.
        """
        Prerequisite("universal", config.universal, cls.requires["universal"]).require_rate(prepared.sample_rate)
        return config

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        """Nothing: the weights are the universal network's."""

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each stem's next sample in nats, the mean over the stems."""
        losses = []
        for stem, decoder in self.decoders.items():
            with torch.no_grad():
                code = self.encoder(crops[stem])
            losses.append(reconstruction_loss(decoder, code, crops[stem]))
        return torch.stack(losses).mean()

    def networks(self) -> dict[str, Network]:
        return {"encoder": self.encoder, **self.decoders.named("decoder")}

    def branches(self) -> tuple[Branch, ...]:
        return tuple(Branch(source, target, "encoder", f"decoder.{target}") for source, target in self.pairs)
