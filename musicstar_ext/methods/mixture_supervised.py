"""Mixture-supervised Music-STAR, the paper's best method: straight from one domain's mixture to the other's.

One encoder of Fig. 4b and one WaveNet decoder are trained together: the encoder hears the source mixture, the decoder
is teacher-forced with the target mixture of the same span, and the loss is the cross-entropy of its next sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.checkpoints import Branch
from musicstar_ext.errors import UserError
from musicstar_ext.nn import Network, WaveNetDecoder, build_encoder
from musicstar_ext.nn.initialisation import preserve_variance, start_from_histogram

from .method import Method
from .recipe import Recipe


@dataclass(frozen=True)
class MixtureSupervisedConfig(Recipe):
    """The paper's recipe: Adam 3e-4, decay 0.99 an epoch, batches of 16 crops of 1 s, 100 epochs, full-size networks.

    `source` and `target` name domains of the training set; left empty, they are its first and its second.
    """

    source: str = ""
    target: str = ""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for ours, theirs, names in (
            (self.encoder.pool, self.decoder.pool, "encoder.pool and decoder.pool"),
            (
                self.encoder.code_channels,
                self.decoder.condition_channels,
                "encoder.code_channels and decoder.condition_channels",
            ),
        ):
            if ours != theirs:
                raise UserError(f"{names} must be equal, not {ours} and {theirs}")
        if self.decoder.classes != 256:
            raise UserError(f"decoder.classes must be 256, the number of mu-law codes, not {self.decoder.classes}")


class MixtureSupervised(Method):
    """Encoder and decoder of one direction, trained together."""

    name = "mixture-supervised"
    config_type = MixtureSupervisedConfig

    def __init__(self, config: MixtureSupervisedConfig, domains: Mapping[str, list[str]]) -> None:
        super().__init__(config, domains)
        source = config.source or next((name for name in domains if name != config.target), "")
        target = config.target or next((name for name in domains if name != source), "")
        if source == target or source not in domains or target not in domains:
            known = ", ".join(domains)
            raise UserError(f"source and target must be two of the domains ({known}), not {source!r} and {target!r}")
        self.config = config
        self.domains = {"source": source, "target": target}
        self.tracks = (source, target)
        self.frame_samples = config.encoder.pool
        self.encoder = build_encoder(config.encoder)
        self.decoder = WaveNetDecoder(config.decoder)

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        if self.config.initialisation == "variance-preserving":
            preserve_variance(self.encoder)
            preserve_variance(self.decoder)
            start_from_histogram(self.decoder, code_counts[self.domains["target"]])

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the target's next sample, in nats."""
        source, target = (crops[track] for track in self.tracks)
        logits = self.decoder(target, self.encoder(source))  # [B, 256, T]
        return functional.cross_entropy(logits.transpose(1, 2).flatten(0, 1).float(), target.flatten().long())

    def networks(self) -> dict[str, Network]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def branches(self) -> tuple[Branch, ...]:
        return (Branch(self.domains["source"], self.domains["target"]),)
