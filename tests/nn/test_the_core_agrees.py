"""One definition of each network: torch's modules, the core's reference, the fast paths and numpy compute the same."""

from __future__ import annotations

import _musicstar_core as core
import numpy as np
import pytest
import torch
from random_networks import FP32_TOLERANCE, random_codes, random_condition, random_weights, sizes

from musicstar_ext import checkpoints, models
from musicstar_ext.architecture import DecoderConfig, EncoderConfig, NetworkConfig, SpectrumConfig
from musicstar_ext.nn import build_network, load_weights, to_checkpoint_weights
from musicstar_ext.runtime.shaping import ExpectedSpectrum

FULL_SIZE = {
    "universal encoder (Fig. 4a)": EncoderConfig(kind="universal", blocks=3, layers=10),
    "Music-STAR encoder (Fig. 4b)": EncoderConfig(),
    "decoder": DecoderConfig(),
}


def agree_on_codes(config: EncoderConfig, weights: dict[str, np.ndarray], samples: int) -> None:
    network = build_network(config)
    load_weights(network, weights)
    codes = random_codes(samples)
    with torch.no_grad():
        expected = network(torch.from_numpy(codes)[None])[0].T.numpy()
    assert expected.shape == (samples // config.pool, config.code_channels)
    tolerance = FP32_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(core.ReferenceEncoder(sizes(config), weights).encode(codes), expected, atol=tolerance)
    for isa in core.supported_isas():
        encoder = core.Encoder(sizes(config), weights, threads=2, isa=isa)
        found = np.concatenate([encoder.push(codes), encoder.finish()])
        np.testing.assert_allclose(found, expected, atol=tolerance, err_msg=isa)


def agree_on_logits(config: DecoderConfig, weights: dict[str, np.ndarray], samples: int) -> None:
    network = build_network(config)
    load_weights(network, weights)
    codes, condition = random_codes(samples), random_condition(config, samples)
    with torch.no_grad():
        expected = network(torch.from_numpy(codes)[None], torch.from_numpy(condition.T)[None])[0].T.numpy()
    tolerance = FP32_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    reference = core.ReferenceSampler(sizes(config), weights)
    np.testing.assert_allclose(reference.teacher_forced(condition, codes), expected, atol=tolerance)
    for isa in core.supported_isas():
        sampler = core.Sampler(sizes(config), weights, isa=isa)
        sampler.reset(0.0)  # teacher forcing starts from zero
        found = sampler.score(condition[None], codes[None])[0]
        np.testing.assert_allclose(found, expected, atol=tolerance, err_msg=isa)


def agree_on_spectra(config: SpectrumConfig, weights: dict[str, np.ndarray], frames: int) -> None:
    network = build_network(config)
    load_weights(network, weights)
    code = np.random.default_rng(0).normal(0, 0.3, (frames, config.code_channels)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(code.T.copy())[None])[0].numpy()
    tolerance = FP32_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    found = np.concatenate(list(ExpectedSpectrum(config, weights).of([code])))
    np.testing.assert_allclose(found, expected, atol=tolerance)


def agree(config: NetworkConfig, weights: dict[str, np.ndarray]) -> None:
    if isinstance(config, EncoderConfig):
        agree_on_codes(config, weights, config.pool)
    elif isinstance(config, SpectrumConfig):
        agree_on_spectra(config, weights, 40)
    else:
        agree_on_logits(config, weights, 60)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_with_random_weights(name):
    agree(FULL_SIZE[name], random_weights(FULL_SIZE[name]))


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_with_weights_that_were_trained(name):
    """A few steps of gradient descent, so that the weights are no longer independent random numbers."""
    torch.manual_seed(0)
    config = FULL_SIZE[name]
    network = build_network(config)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    codes = torch.from_numpy(random_codes(config.pool))[None]
    for _ in range(3):
        optimizer.zero_grad()
        if isinstance(config, EncoderConfig):
            loss = (network(codes) - 1).square().mean()
        else:
            condition = torch.from_numpy(random_condition(config, config.pool).T)[None]
            loss = torch.nn.functional.cross_entropy(network(codes, condition), codes.long())
        loss.backward()
        optimizer.step()
    agree(config, to_checkpoint_weights(network))


@pytest.mark.parametrize("name", models.names())
def test_shipped_models(name):
    checkpoint = checkpoints.load(models.find(name))
    for network, config in checkpoint.networks.items():
        agree(config, checkpoint.weights[network])
