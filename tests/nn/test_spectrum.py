"""The expected spectrum: its windows, its distance, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musicstar_ext.architecture import SpectrumConfig
from musicstar_ext.errors import UserError
from musicstar_ext.nn import SpectrumNetwork
from musicstar_ext.nn.spectrum import FLOOR, distance, mu_law_decoded, power_spectra
from musicstar_ext.runtime.core import core

SMALL = SpectrumConfig(code_channels=3, pool=40, kernel_size=3, hidden_channels=16, window=64)


def test_mu_law_is_the_cores():
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(mu_law_decoded(torch.from_numpy(codes[None]))[0].numpy(), core.mu_law_decode(codes))


@pytest.mark.parametrize(("pool", "window"), [(40, 64), (40, 32), (40, 256), (33, 64), (800, 2048)])
def test_a_spectrum_is_around_the_middle_of_its_frame(pool, window):
    config = SpectrumConfig(pool=pool, window=window)
    audio = np.random.default_rng(0).standard_normal((2, 12 * pool)).astype(np.float32)
    power, frames = power_spectra(torch.from_numpy(audio), config)
    hann = np.sin(np.pi * np.arange(window) / window) ** 2
    hann /= np.sqrt(np.sum(hann**2))
    whole = [frame for frame in range(12) if 0 <= frame * pool + pool // 2 - window // 2 <= 12 * pool - window]
    assert list(range(12))[frames] == whole
    for row, frame in enumerate(whole):
        start = frame * pool + pool // 2 - window // 2
        expected = np.abs(np.fft.rfft(audio[:, start : start + window] * hann)) ** 2
        assert np.allclose(power[:, row], expected, rtol=1e-3, atol=1e-5)


def test_white_noise_has_its_variance_in_every_bin():
    torch.manual_seed(0)
    power, _ = power_spectra(0.3 * torch.randn(1, 400_000), SMALL)
    assert torch.allclose(power[0].mean(dim=0)[2:-2], torch.tensor(0.09), rtol=0.05)


def test_distance():
    power = torch.rand(50, 9) + 0.1
    assert distance((power + FLOOR).log(), power).item() == pytest.approx(0, abs=1e-6)
    for factor in (0.5, 3.0):  # P / E - log(P / E) - 1
        expected = 1 / factor - np.log(1 / factor) - 1
        assert distance((factor * power).log(), power).item() == pytest.approx(expected, rel=1e-5)
    noise = torch.distributions.Exponential(1.0).sample((400, 500))
    assert distance(torch.zeros(400, 500), noise).item() == pytest.approx(np.euler_gamma, abs=0.01)


def test_an_onset_that_nothing_announced_pulls_no_further():
    expected = torch.full((1, 1), -10.0, requires_grad=True)
    distance(expected, torch.ones(1, 1)).backward()
    assert expected.grad.item() == pytest.approx(1.0)  # of the logarithm alone; the ratio is e^10


def test_the_start_expects_the_mean_and_the_network_learns_what_the_code_tells():
    torch.manual_seed(0)
    network = SpectrumNetwork(SMALL)
    loud = (torch.rand(1, 3, 200) < 0.5).float()
    levels = torch.tensor([1e-4, 1e-2, 1.0])[:, None] * torch.ones(3, SMALL.bins)
    expected = (loud[0].T @ levels + 1e-5)[None]
    power = torch.distributions.Exponential(1.0).sample(expected.shape) * expected
    network.start(power)
    constant = power.mean(dim=(0, 1)) + FLOOR
    assert torch.allclose(network(torch.zeros(1, 3, 5))[0, 2], constant.log(), atol=1e-4)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = distance(network(0.2 * loud), power)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.65 < distance(constant.log(), power).item()
    assert (network(0.2 * loud) - expected.log()).abs().mean() < 0.3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"kernel_size": 4}, "kernel_size must be odd"), ({"window": 100}, "window must be a multiple of 16")],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(UserError, match=message):
        SpectrumConfig(**sizes)
