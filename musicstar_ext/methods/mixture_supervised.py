"""Mixture-supervised Music-STAR, the paper's best method: from the mixture of one domain straight to the mixture of the other.

One encoder of Fig. 4b and one WaveNet decoder are trained together: the encoder hears the source mixture, the decoder is
teacher-forced with the target mixture of the same span, and the loss is the cross-entropy of its next sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..architecture import DecoderConfig, EncoderConfig
from ..errors import UserError
from ..nn import build_network
from ..nn.initialisation import preserve_variance, start_from_histogram
from .recipe import Recipe


@dataclass(frozen=True)
class MixtureSupervisedConfig(Recipe):
    """The paper's recipe: Adam 3e-4, decay 0.99 an epoch, batches of 16 crops of 1 s, 100 epochs, full-size networks.

    `source` and `target` name domains of the training set; empty, they are its first and its second.
    """

    source: str = ""
    target: str = ""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder.pool != self.decoder.pool:
            raise UserError(f"encoder.pool and decoder.pool must be equal, not {self.encoder.pool} and {self.decoder.pool}")
        if self.encoder.code_channels != self.decoder.condition_channels:
            sizes = f"{self.encoder.code_channels} and {self.decoder.condition_channels}"
            raise UserError(f"encoder.code_channels and decoder.condition_channels must be equal, not {sizes}")
        if self.decoder.classes != 256:
            raise UserError(f"decoder.classes must be 256, the number of mu-law codes, not {self.decoder.classes}")

    def crop_samples(self, sample_rate: int) -> int:
        """Samples of a crop: the nearest to `crop_seconds` that are whole code frames."""
        return max(1, round(self.crop_seconds * sample_rate / self.encoder.pool)) * self.encoder.pool


class MixtureSupervised(nn.Module):
    """The model: what it needs of a set, its loss, and what a checkpoint of it holds."""

    name: ClassVar[str] = "mixture-supervised"
    config_type: ClassVar[type[MixtureSupervisedConfig]] = MixtureSupervisedConfig

    def __init__(self, config: MixtureSupervisedConfig, domains: Mapping[str, object]) -> None:
        """`domains` are those of the training set, in its order.

        Raises:
            UserError: the set does not have the two domains.
        """
        super().__init__()
        names = [config.source or next(iter(domains), ""), config.target]
        names[1] = names[1] or next((name for name in domains if name != names[0]), "")
        if names[0] == names[1] or not set(names) <= set(domains):
            raise UserError(f"source and target must be two of the set's domains ({', '.join(domains)}), not {' and '.join(names)}")
        self.config = config
        self.domains = {"source": names[0], "target": names[1]}
        self.encoder = build_network(config.encoder)
        self.decoder = build_network(config.decoder)

    @property
    def tracks(self) -> tuple[str, str]:
        """What is cropped from the set for each step."""
        return self.domains["source"], self.domains["target"]

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        """The start of the weights, given how often each code occurs in each of the `tracks`: [256]."""
        if self.config.initialisation == "variance-preserving":
            preserve_variance(self.encoder)
            preserve_variance(self.decoder)
            start_from_histogram(self.decoder, code_counts[self.domains["target"]])

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the target's next sample in nats; `crops` holds codes [B, T] of each of the `tracks`."""
        source, target = (crops[track] for track in self.tracks)
        logits = self.decoder(target, self.encoder(source))  # [B, 256, T]
        return functional.cross_entropy(logits.transpose(1, 2).flatten(0, 1).float(), target.flatten().long())

    def networks(self) -> dict[str, nn.Module]:
        """The networks of a checkpoint, which `translate` runs: each a module of `musicstar_ext.nn` with its `config`."""
        return {"encoder": self.encoder, "decoder": self.decoder}
