"""A network that begins as a narrower one computes the same, and can learn with all its channels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.nn import WaveNetDecoder, build_encoder, to_checkpoint_weights
from musicstar_ext.nn.widening import start_from_narrower

ENCODER = EncoderConfig(blocks=2, layers=3, channels=5, code_channels=4, pool=10)
DECODER = DecoderConfig(blocks=1, layers=3, residual_channels=5, skip_channels=6, condition_channels=4, pool=10)
CODES = torch.randint(0, 256, (2, 60), generator=torch.Generator().manual_seed(0))
CONDITION = torch.randn((2, 4, 6), generator=torch.Generator().manual_seed(1))


def noisy(network):
    """Weights and biases that are all different from zero."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


@pytest.mark.parametrize("kind", ["music-star", "universal"])
def test_encoder_computes_the_same(kind):
    torch.manual_seed(2)
    config = dataclasses.replace(ENCODER, kind=kind)
    narrow, wide = noisy(build_encoder(config)), noisy(build_encoder(dataclasses.replace(config, channels=9)))
    start_from_narrower(wide, config, to_checkpoint_weights(narrow))
    code = wide(CODES)
    assert torch.allclose(code, narrow(CODES), atol=1e-5)
    code.square().sum().backward()
    assert (wide.code.weight.grad != 0).all()  # of the further channels as well
    assert (wide.layers[0].dilated.weight.grad[:5, 5:] != 0).any()


def test_decoder_computes_the_same():
    torch.manual_seed(3)
    wider = dataclasses.replace(DECODER, residual_channels=8, skip_channels=7)
    narrow, wide = noisy(WaveNetDecoder(DECODER)), noisy(WaveNetDecoder(wider))
    start_from_narrower(wide, DECODER, to_checkpoint_weights(narrow))
    logits = wide(CODES, CONDITION)
    assert torch.allclose(logits, narrow(CODES, CONDITION), atol=1e-5)
    logits.square().sum().backward()
    assert (wide.logits.weight.grad != 0).all()


def test_equal_sizes_are_copied_to_the_bit():
    narrow, other = noisy(build_encoder(ENCODER)), build_encoder(ENCODER)
    start_from_narrower(other, ENCODER, to_checkpoint_weights(narrow))
    assert all(torch.equal(a, b) for a, b in zip(narrow.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 6}, "channels is 5, and 6 in the one to start from; widths may only grow"),
        ({"blocks": 1}, "blocks is 2, and 1 in the one to start from; only widths may differ"),
        ({"code_channels": 3}, "code_channels is 4, and 3 .*; only widths may differ"),
    ],
)
def test_what_does_not_fit(change, message):
    config = dataclasses.replace(ENCODER, **change)
    with pytest.raises(UserError, match=message):
        start_from_narrower(build_encoder(ENCODER), config, to_checkpoint_weights(build_encoder(config)))
    with pytest.raises(UserError, match="one is of the type encoder, the other decoder"):
        start_from_narrower(build_encoder(ENCODER), DECODER, {})
