"""Embedding-supervised translation (section 3.2): encoders that hear one instrument each in the mixture.

For every stem of the source domain an encoder of Fig. 4b hears the whole mixture, and learns the code that the
universal encoder gives for the stem alone, by the mean absolute difference. To translate, each such code is played by
the single-instrument method's decoder of the corresponding target stem; the stems are summed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.checkpoints import Branch
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError
from musicstar_ext.nn import ByStem, Network, build_encoder
from musicstar_ext.nn.initialisation import preserve_variance

from .direction import DirectionRecipe, corresponding_stems
from .method import Method
from .prerequisites import Prerequisite


@dataclass(frozen=True)
class EmbeddingSupervisedConfig(DirectionRecipe):
    """The paper's recipe: Adam 3e-4, decay 0.98 an epoch, batches of 16 crops of 0.75 s, 100 epochs, full size.

    `single` is a checkpoint of single-instrument in the same direction: the universal encoder and the decoders.
    """

    crop_seconds: float = 0.75
    decay: float = 0.98

    single: str = ""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)


class EmbeddingSupervised(Method):
    """An encoder of the mixture for each stem of the source domain, and the decoders, which stay as they are."""

    name = "embedding-supervised"
    config_type = EmbeddingSupervisedConfig
    requires: ClassVar[dict[str, str]] = {"single": "single-instrument"}
    unit = "L1"

    def __init__(self, config: EmbeddingSupervisedConfig, domains: Mapping[str, list[str]]) -> None:
        super().__init__(config, domains)
        source, target = config.direction(domains)
        single = Prerequisite("single", config.single, self.requires["single"])
        self.config = config
        self.domains = {"source": source, "target": target}
        self.pairs = corresponding_stems(domains, source, target)
        self.stems = tuple(stem for stem, _ in self.pairs)
        self.tracks = (source, *self.stems)
        single.require_branches(self.pairs)
        self.teacher = single.encoder().requires_grad_(False)
        for name in ("code_channels", "pool"):
            ours, theirs = getattr(config.encoder, name), getattr(self.teacher.config, name)
            if ours != theirs:
                raise UserError(f"encoder.{name} must be {theirs}, as in {config.single}, not {ours}")
        self.encoders = ByStem({stem: build_encoder(config.encoder) for stem in self.stems})
        self.decoders = ByStem({stem: single.decoder(f"decoder.{stem}") for _, stem in self.pairs})
        self.decoders.requires_grad_(False)
        self.frame_samples = config.encoder.pool

    @classmethod
    def config_for(cls, config: EmbeddingSupervisedConfig, prepared: PreparedSet) -> EmbeddingSupervisedConfig:
        """The config itself.

        Raises:
            UserError: the single-instrument models were trained at another sample rate than the set's.
        """
        Prerequisite("single", config.single, cls.requires["single"]).require_rate(prepared.sample_rate)
        return config

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        if self.config.initialisation == "variance-preserving":
            for _, encoder in self.encoders.items():
                preserve_variance(encoder)

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Mean absolute difference between the codes of a stem in the mixture and alone, the mean over the stems."""
        mixture = crops[self.domains["source"]]
        losses = []
        for stem, encoder in self.encoders.items():
            with torch.no_grad():
                code = self.teacher(crops[stem])
            losses.append(functional.l1_loss(encoder(mixture).float(), code.float()))
        return torch.stack(losses).mean()

    def networks(self) -> dict[str, Network]:
        return {**self.encoders.named("encoder"), **self.decoders.named("decoder")}

    def branches(self) -> tuple[Branch, ...]:
        source = self.domains["source"]
        return tuple(Branch(source, played, f"encoder.{heard}", f"decoder.{played}") for heard, played in self.pairs)
