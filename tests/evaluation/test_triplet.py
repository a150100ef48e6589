"""The triplet network: its sizes, its padding, its loss by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from musicstar_ext.evaluation.triplet import TripletNetwork, tensor_shapes, triplet_hinge  # noqa: E402


def test_sizes():
    network = TripletNetwork()
    convolutions = (12 * 4 + 1) * 64 + 2 * (64 * 4 + 1) * 64 + (64 * 2 + 1) * 64
    assert sum(p.numel() for p in network.parameters()) == convolutions + 4 * 2 * 64 == 44_800
    assert network(torch.zeros(3, 12, 256)).shape == (3, 64)
    assert network.blocks(torch.zeros(1, 12, 256)).shape == (1, 64, 2)
    assert set(tensor_shapes()) == {n for n in network.state_dict() if "num_batches" not in n}


def test_the_first_block_is_its_equation():
    """Convolution padded by one frame before and two behind, normalised by running statistics, ReLU, maximum of 4."""
    torch.manual_seed(1)
    block = TripletNetwork().blocks[0].eval()
    with torch.no_grad():
        block.norm.running_mean.uniform_(-1, 1)
        block.norm.running_var.uniform_(0.5, 2)
        block.norm.weight.uniform_(0.5, 2)
        block.norm.bias.uniform_(-1, 1)
    x = np.random.default_rng(1).standard_normal((12, 10))
    padded = np.pad(x, ((0, 0), (1, 2)))
    weight, bias = (block.convolution.weight.detach().numpy(), block.convolution.bias.detach().numpy())
    convolved = np.stack([(weight * padded[None, :, t : t + 4]).sum((1, 2)) + bias for t in range(10)], axis=1)
    mean, variance, gamma, beta = (
        part.detach().numpy()[:, None]
        for part in (block.norm.running_mean, block.norm.running_var, block.norm.weight, block.norm.bias)
    )
    active = np.maximum(0, gamma * (convolved - mean) / np.sqrt(variance + 1e-3) + beta)
    expected = active[:, :8].reshape(64, 2, 4).max(axis=2)
    with torch.no_grad():
        found = block(torch.from_numpy(x[None].astype(np.float32)))[0].numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_the_hinge_by_hand():
    anchor = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    positive = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    negative = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    by_hand = [max(0, 0.1 + 0 - 1), 0.1 + 1 - math.sqrt(0.5), 0.1 + math.sqrt(0.5) - 0]
    assert triplet_hinge(anchor, positive, negative).item() == pytest.approx(sum(by_hand) / 3, abs=1e-6)
    assert triplet_hinge(anchor, anchor, negative, margin=0.5).item() == pytest.approx(
        (0 + 0.5 + max(0, 0.5 + math.sqrt(0.5) - 1)) / 3, abs=1e-6
    )
