import dataclasses

import numpy as np
import pytest
import torch

from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.nn import MusicStarEncoder, UniversalEncoder, build_network

from . import plain_equations

TINY = EncoderConfig(blocks=2, layers=3, channels=4, code_channels=3, pool=5)
KINDS = ("universal", "music-star")


def encoder(kind: str, **sizes: int) -> UniversalEncoder | MusicStarEncoder:
    torch.manual_seed(1)
    return build_network(dataclasses.replace(TINY, kind=kind, **sizes)).double()


def random_codes(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel_size", [2, 3])
@pytest.mark.parametrize("length", [1, 4, 5, 23, 40])
def test_equals_plain_equations(kind, kernel_size, length):
    network = encoder(kind, kernel_size=kernel_size)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    codes = random_codes(2, length)
    found = network(codes).detach().numpy()
    assert found.shape == (2, 3, length // 5)
    for row in range(2):
        expected = plain_equations.encode(network.config, weights, codes[row].numpy())
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_full_size_has_the_tensors_of_its_config(kind):
    with torch.device("meta"):
        network = build_network(EncoderConfig(kind=kind))
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == network.config.tensor_shapes()


def test_the_papers_encoder_has_about_4_6_million_parameters():
    with torch.device("meta"):
        network = build_network(EncoderConfig())
    used = sum(parameter.numel() for parameter in network.parameters())
    assert used == pytest.approx(4.6e6, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_looks_as_far_ahead_as_back(kind):
    network = encoder(kind, pool=1)
    reach = 1 + sum(network.config.dilations)  # each way: the start's and every layer's
    codes = random_codes(1, 101)
    changed = codes.clone()
    changed[0, 50] = (changed[0, 50] + 100) % 256
    different = (network(codes) != network(changed)).any(dim=1)[0].nonzero().flatten()
    assert (different.min().item(), different.max().item()) == (50 - reach, 50 + reach)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind):
    network = encoder(kind, blocks=1, layers=2)
    codes = random_codes(2, 11)
    parameters = dict(network.named_parameters())
    names, values = list(parameters), [p.detach().clone().requires_grad_() for p in parameters.values()]

    def code(*weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(network, dict(zip(names, weights, strict=True)), codes)

    assert torch.autograd.gradcheck(code, values)


def test_codes_may_be_bytes_or_integers():
    network = encoder("music-star")
    codes = random_codes(1, 20)
    assert torch.equal(network(codes), network(codes.to(torch.uint8)))
