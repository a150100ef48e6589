"""The work of training: multiply-adds and bytes of a sample of audio, forward and backward, and what bounds them.

Backward is two products for each of forward's: one for the gradient of the activations, one for that of the weights.
Bytes are the least that moves when each layer is one pass over the sequence in memory, weights left out: forward reads
and writes x (the decoder's the skip sum too); backward reads x and the gradients after the layer, and writes the one
before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import bounds
import cuda_machine
import torch

from musicstar_ext.architecture import DecoderConfig, EncoderConfig


@dataclass(frozen=True)
class Work:
    """Of one sample of audio: multiply-adds, and elements of sequences that are read or written."""

    multiply_adds: int
    elements: int

    def __add__(self, other: Work) -> Work:
        return Work(self.multiply_adds + other.multiply_adds, self.elements + other.elements)


def decoder_stack(config: DecoderConfig, backward: bool) -> Work:
    """The gated layers alone."""
    r, s, layers = config.residual_channels, config.skip_channels, len(config.dilations)
    products = layers * (config.kernel_size * r * 2 * r + r * (r + s))
    elements = layers * (2 * r + 2 * s)
    return Work(3 * products, elements + layers * (3 * r + s)) if backward else Work(products, elements)


def encoder_stack(config: EncoderConfig, backward: bool) -> Work:
    """The layers of Fig. 4b (or 4a) alone."""
    c, layers = config.channels, len(config.dilations)
    products = layers * (config.kernel_size * c * c + c * config.pointwise_channels)
    return Work(3 * products, layers * 5 * c) if backward else Work(products, layers * 2 * c)


def training_step(encoder: EncoderConfig, decoder: DecoderConfig) -> Work:
    """Both networks, forward and backward; the bytes are those of the stacks."""
    products = 3 * (bounds.encoder_multiply_adds(encoder) + bounds.decoder_multiply_adds(decoder))
    return Work(products, encoder_stack(encoder, True).elements + decoder_stack(decoder, True).elements)


def element_bytes(precision: str) -> int:
    return 2 if precision == "bf16" else 4


def bound(work: Work, precision: str, device: torch.device, threads: int) -> float:
    """Samples a second at best: products at the measured peak, and on a GPU no more bytes than its memory moves.

    On the CPU the layers of a piece of time can stay in the caches, so that memory bounds nothing there.
    """
    if device.type == "cpu":
        isa = bounds.core.active_isa()
        return threads * bounds.peak(precision, isa) / work.multiply_adds
    products = cuda_machine.peak(device, precision) / work.multiply_adds
    return min(products, cuda_machine.bandwidth(device) / (work.elements * element_bytes(precision)))
