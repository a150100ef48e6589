"""The universal music translation network [7], the start of the single-instrument method (section 3.1).

One encoder (Fig. 4a) for all instruments and one WaveNet decoder for each. An encoder hears a stem, pitch-shifted a
little here and there; the stem's own decoder is teacher-forced with the undistorted stem. A classifier learns to name
the instrument from the code, and the encoder learns to make that impossible, so that every decoder can play every code:

    classifier:          minimises  CE(C(E(x)), instrument)
    encoder, decoder:    minimise   CE(D(E(x augmented)), x) - confusion * CE(C(E(x augmented)), instrument)

Steps take turns over the instruments, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.checkpoints import Branch
from musicstar_ext.errors import UserError
from musicstar_ext.nn import ByStem, DomainClassifier, Network, WaveNetDecoder, build_encoder

from .autoencoder import AutoencoderRecipe, reconstruction_loss
from .direction import corresponding_stems
from .method import Method


@dataclass(frozen=True)
class UniversalNetworkConfig(AutoencoderRecipe):
    """The published recipe: Adam 1e-3, decay 0.995 an epoch, batches of 32 crops of 0.75 s, gradients clipped at 1.

    `stems` are the instruments, separated by commas; left empty, they are the stems of every domain of the set.
    `source` and `target` only say which way the checkpoint itself translates: it holds the decoders of all stems.
    """

    batch: int = 32
    crop_seconds: float = 0.75
    learning_rate: float = 1e-3
    decay: float = 0.995
    clip_value: float = 1.0

    stems: str = ""
    confusion: float = 0.01
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(kind="universal", blocks=3, layers=10))

    def stems_of(self, domains: Mapping[str, list[str]]) -> tuple[str, ...]:
        """The instruments, in the set's order.

        Raises:
            UserError: a name that is not a stem of the set.
        """
        known = [stem for stems in domains.values() for stem in stems]
        wanted = {name.strip() for name in self.stems.split(",")} if self.stems else set(known)
        unknown = sorted(wanted.difference(known))
        if unknown:
            raise UserError(f"stems: {unknown[0]!r} is not a stem of the set; known: {', '.join(known)}")
        return tuple(stem for stem in known if stem in wanted)


class UniversalNetwork(Method):
    """The universal encoder, a decoder for each instrument, and the classifier that keeps instruments out of codes."""

    name = "universal-network"
    config_type = UniversalNetworkConfig

    def __init__(self, config: UniversalNetworkConfig, domains: Mapping[str, list[str]]) -> None:
        super().__init__(config, domains)
        source, target = config.direction(domains)
        self.config = config
        self.domains = {"source": source, "target": target}
        self.tracks = self.augmented_tracks = self.stems = config.stems_of(domains)
        self.pairs = [pair for pair in corresponding_stems(domains, source, target) if pair[1] in self.stems]
        if not self.pairs:
            raise UserError(f"stems must hold one of {', '.join(domains[target])}, the stems of {target}")
        self.frame_samples = config.encoder.pool
        self.encoder = build_encoder(config.encoder)
        self.decoders = ByStem({stem: WaveNetDecoder(config.decoder) for stem in self.stems})
        self.classifier = DomainClassifier(config.encoder.code_channels, len(self.stems))

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        self.config.start(self.encoder)
        for stem, decoder in self.decoders.items():
            self.config.start(decoder, code_counts[stem])

    def tracks_at(self, step: int) -> tuple[str, ...]:
        """One stem a step, in turn."""
        return (self.stems[step % len(self.stems)],)

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """Its value is the reconstruction's cross-entropy in nats, its gradient that of both players' losses.

        The mean over the stems in `crops`; `losses` has the parts.
        """
        losses = []
        for stem in self.stems:
            if stem in crops:
                reconstruction, confusion, naming = self.losses(stem, crops[stem], crops[f"{stem} augmented"])
                players = naming - self.config.confusion * confusion
                losses.append(reconstruction + (players - players.detach()))
        return torch.stack(losses).mean()

    def losses(self, stem: str, x: Tensor, augmented: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three cross-entropies in nats for crops [B, T] of a stem.

        Returns:
            The reconstruction's; the classifier's on the augmented crop, whose gradient reaches the encoder only; and
            the classifier's on the crop itself, whose gradient reaches the classifier only. So one backward pass gives
            each player the gradient of its own loss.
        """
        code = self.encoder(augmented)  # before the one without gradient: autocast keeps its copies of the weights
        with torch.no_grad():
            plain_code = self.encoder(x)
        instrument = torch.full((len(x),), self.stems.index(stem), device=x.device)
        fixed = {name: weight.detach() for name, weight in self.classifier.named_parameters()}
        confusion = functional.cross_entropy(functional_call(self.classifier, fixed, (code,)).float(), instrument)
        naming = functional.cross_entropy(self.classifier(plain_code).float(), instrument)
        return reconstruction_loss(self.decoders[stem], code, x), confusion, naming

    def validation_loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """The reconstruction's cross-entropy in nats, the mean over all stems, of crops as they are."""
        losses = [
            reconstruction_loss(decoder, self.encoder(crops[stem]), crops[stem])
            for stem, decoder in self.decoders.items()
        ]
        return torch.stack(losses).mean()

    def networks(self) -> dict[str, Network]:
        return {"encoder": self.encoder, **self.decoders.named("decoder")}

    def branches(self) -> tuple[Branch, ...]:
        return tuple(Branch(source, target, "encoder", f"decoder.{target}") for source, target in self.pairs)
