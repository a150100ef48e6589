import math

import numpy as np
import pytest
import torch

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.nn import build_network
from musicstar_ext.nn.initialisation import preserve_variance, start_from_histogram


@pytest.fixture
def codes():
    """Two rows of something as loud as music: codes with a standard deviation of 0.3 after scaling."""
    random = torch.Generator().manual_seed(0)
    return (128 + 76 * torch.randn(2, 2000, generator=random)).clamp(0, 255).long()


@pytest.mark.parametrize("kind", ["universal", "music-star"])
def test_encoder_keeps_its_size_through_40_layers(kind, codes):
    torch.manual_seed(0)
    encoder = build_network(EncoderConfig(kind=kind, blocks=8, layers=5, channels=32, pool=10))
    preserve_variance(encoder)
    sizes = {}
    for i, layer in enumerate(encoder.layers):
        layer.register_forward_hook(lambda module, inputs, output, i=i: sizes.update({i: output.std().item()}))
    encoder(codes)
    assert 0.5 < sizes[0] < 2
    assert 0.5 < sizes[39] < 4


def test_decoder_keeps_its_size_and_starts_from_the_histogram(codes):
    torch.manual_seed(0)
    decoder = build_network(DecoderConfig(blocks=8, layers=5, residual_channels=32, skip_channels=32, pool=100))
    preserve_variance(decoder)
    counts = torch.bincount(codes.flatten(), minlength=256).numpy()
    start_from_histogram(decoder, counts)
    sizes = {}
    for i, layer in enumerate(decoder.layers):
        layer.register_forward_hook(lambda module, inputs, output, i=i: sizes.update({i: output[0].std().item()}))
    logits = decoder(codes, torch.randn(2, 64, 20))
    assert 0.5 < sizes[0] < 2
    assert 0.5 < sizes[39] < 4

    frequencies = counts / counts.sum()
    entropy = -sum(f * math.log(f) for f in frequencies if f)
    loss = torch.nn.functional.cross_entropy(logits, codes).item()
    assert loss == pytest.approx(entropy, abs=0.15)


def test_an_absent_code_keeps_a_finite_logit():
    decoder = build_network(DecoderConfig(blocks=1, layers=1, residual_channels=8, skip_channels=8))
    start_from_histogram(decoder, np.eye(256, dtype=np.int64)[3])
    assert torch.isfinite(decoder.logits.bias).all()
    assert decoder.logits.bias.argmax() == 3
