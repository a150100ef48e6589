"""Tiny checkpoints of several branches, with random weights, that the tests of branches share."""

from __future__ import annotations

from random_networks import random_weights

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.checkpoints import Branch, Checkpoint

ENCODER = EncoderConfig(blocks=1, layers=3, channels=8, code_channels=4, pool=160)
DEEPER = EncoderConfig(kind="universal", blocks=2, layers=5, channels=8, code_channels=4, pool=160)
DECODER = DecoderConfig(blocks=1, layers=4, residual_channels=8, skip_channels=8, condition_channels=4, pool=160)
LONGER = DecoderConfig(blocks=2, layers=6, residual_channels=8, skip_channels=8, condition_channels=4, pool=160)

NETWORKS = {
    "encoder": ENCODER,
    "encoder.clarinet": ENCODER,
    "encoder.vibraphone": DEEPER,
    "decoder.clarinet": DECODER,
    "decoder.vibraphone": LONGER,
    "decoder.strings": DECODER,
}
DOMAINS = {"source": "strings-piano", "target": "clarinet-vibraphone"}
LEVELS = {
    "strings-piano": -20.0,
    "clarinet-vibraphone": -19.0,
    "strings": -23.0,
    "piano": -26.0,
    "clarinet": -22.0,
    "vibraphone": -25.0,
}
WEIGHTS = {name: random_weights(config, seed) for seed, (name, config) in enumerate(NETWORKS.items())}

ONE_ENCODER_EACH = (
    Branch("strings-piano", "clarinet", "encoder.clarinet", "decoder.clarinet"),
    Branch("strings-piano", "vibraphone", "encoder.vibraphone", "decoder.vibraphone"),
)
SHARED_ENCODER = (
    Branch("strings-piano", "clarinet", "encoder", "decoder.clarinet"),
    Branch("strings-piano", "vibraphone", "encoder", "decoder.vibraphone"),
)
STEMS = (
    Branch("strings", "clarinet", "encoder", "decoder.clarinet"),
    Branch("piano", "vibraphone", "encoder", "decoder.vibraphone"),
)


def checkpoint_of(branches: tuple[Branch, ...], method: str = "stem-supervised") -> Checkpoint:
    """All networks above, of which `branches` may leave some unused."""
    return Checkpoint(method, dict(NETWORKS), WEIGHTS, DOMAINS, branches, LEVELS)
