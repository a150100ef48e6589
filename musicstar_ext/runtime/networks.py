"""From a checkpoint to the native encoder and decoder that run it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from musicstar_ext.architecture import DecoderConfig, EncoderConfig, NetworkConfig, parameter_count
from musicstar_ext.checkpoints import Checkpoint, Tensors
from musicstar_ext.errors import UserError

from .core import core
from .engine import Engine

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Networks:
    """The autoencoder of mixture-supervised Music-STAR (section 3.3): one encoder, one decoder, on one engine."""

    encoder_config: EncoderConfig
    decoder_config: DecoderConfig
    encoder_weights: Tensors
    decoder_weights: Tensors
    engine: Engine

    @property
    def pool(self) -> int:
        """Samples of one code frame."""
        return self.decoder_config.pool

    @property
    def encoder_share(self) -> float:
        """The encoder's part of the work: nearly every parameter is one multiply-add for each sample."""
        encoder, decoder = parameter_count(self.encoder_config), parameter_count(self.decoder_config)
        return encoder / (encoder + decoder)

    def encoder(self) -> core.Encoder:
        """A fresh encoder at the start of a stream."""
        engine = self.engine
        try:
            return core.Encoder(
                _sizes(self.encoder_config), self.encoder_weights, engine.threads, engine.isa, engine.precision
            )
        except ValueError as error:
            raise UserError(f"this version's engine cannot run the encoder: {error}") from None

    def sampler(self, lanes: int) -> core.Sampler:
        """A fresh sampler, all lanes at their first sample."""
        engine = self.engine
        try:
            return core.Sampler(
                _sizes(self.decoder_config), self.decoder_weights, lanes, engine.threads, engine.isa, engine.precision
            )
        except ValueError as error:
            raise UserError(f"this version's engine cannot run the decoder: {error}") from None


def networks_of(checkpoint: Checkpoint, engine: Engine) -> Networks:
    """Check that a checkpoint holds an autoencoder that translates mixture to mixture, whose parts fit together.

    Raises:
        UserError: other networks than `encoder` and `decoder`, sizes that do not fit, another sample rate, no levels.
    """
    names = sorted(checkpoint.networks)
    if names != ["decoder", "encoder"]:
        held = ", ".join(names) or "none"
        raise UserError(
            f"this version cannot translate with method {checkpoint.method!r}: "
            f"it needs the networks encoder and decoder, the checkpoint holds {held}"
        )
    encoder: NetworkConfig = checkpoint.networks["encoder"]
    decoder: NetworkConfig = checkpoint.networks["decoder"]
    if not isinstance(encoder, EncoderConfig) or not isinstance(decoder, DecoderConfig):
        raise UserError(
            f"networks encoder and decoder are of the types {encoder.type_name!r} and {decoder.type_name!r}"
        )
    if encoder.code_channels != decoder.condition_channels:
        raise UserError(
            f"the encoder's code has {encoder.code_channels} channels, the decoder expects {decoder.condition_channels}"
        )
    if encoder.pool != decoder.pool:
        raise UserError(f"the encoder's frames have {encoder.pool} samples, the decoder's {decoder.pool}")
    if decoder.classes != 256:
        raise UserError(f"the decoder has {decoder.classes} classes, translating 8-bit codes needs 256")
    if checkpoint.sample_rate != SAMPLE_RATE:
        raise UserError(f"the model's sample rate is {checkpoint.sample_rate} Hz, this version runs {SAMPLE_RATE} Hz")
    for role, track in (("source", checkpoint.branches[0].source), ("target", checkpoint.branches[0].target)):
        level = checkpoint.levels.get(track)
        if level is None or not math.isfinite(level) or not -120 <= level <= 20:
            raise UserError(f"the model's {role} level is {level}, expected a level in dBFS")
    return Networks(encoder, decoder, checkpoint.weights["encoder"], checkpoint.weights["decoder"], engine)


def _sizes(config: NetworkConfig) -> dict[str, int | str]:
    return {key: value for key, value in config.to_json().items() if key != "type"}
