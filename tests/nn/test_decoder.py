import dataclasses

import numpy as np
import pytest
import torch

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.nn import WaveNetDecoder

from . import plain_equations

TINY = DecoderConfig(blocks=2, layers=3, residual_channels=4, skip_channels=3, condition_channels=2, classes=7, pool=5)


def decoder(**sizes: int) -> WaveNetDecoder:
    torch.manual_seed(1)
    return WaveNetDecoder(dataclasses.replace(TINY, **sizes)).double()


def inputs(length: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 256, (batch, length), generator=random)
    return codes, torch.randn(batch, 2, -(-length // 5), generator=random, dtype=torch.float64)


@pytest.mark.parametrize("kernel_size", [2, 3])
@pytest.mark.parametrize("length", [1, 4, 5, 6, 23, 40])
def test_equals_plain_equations(kernel_size, length):
    network = decoder(kernel_size=kernel_size)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    codes, condition = inputs(length, batch=2)
    found = network(codes, condition).detach().numpy()
    assert found.shape == (2, 7, length)
    for row in range(2):
        expected = plain_equations.decode(network.config, weights, codes[row].numpy(), condition[row].numpy())
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


def test_full_size_has_the_tensors_of_its_config():
    with torch.device("meta"):
        network = WaveNetDecoder(DecoderConfig())
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == network.config.tensor_shapes()


@pytest.mark.parametrize("changed_at", [0, 7, 22])
def test_a_sample_changes_only_what_comes_after_it(changed_at):
    network = decoder()
    codes, condition = inputs(23)
    before = network(codes, condition)
    codes[0, changed_at] = (codes[0, changed_at] + 100) % 256
    different = (network(codes, condition) != before).any(dim=1)[0].nonzero().flatten().tolist()
    assert all(t > changed_at for t in different)
    assert changed_at == 22 or changed_at + 1 in different


def test_receptive_field_is_the_configs():
    network = decoder(skip_channels=16)  # enough that no ReLU hides the oldest sample
    reach = network.config.receptive_field
    codes, condition = inputs(40)
    before = network(codes, condition)
    codes[0, 0] = (codes[0, 0] + 100) % 256
    different = (network(codes, condition) != before).any(dim=1)[0].nonzero().flatten().tolist()
    assert max(different) == reach  # sample 0 is the oldest of the `reach` inputs of logit `reach`


def test_a_frame_conditions_its_own_samples_first():
    network = decoder()
    codes, condition = inputs(20)
    before = network(codes, condition)
    condition[0, :, 2] += 1
    different = (network(codes, condition) != before).any(dim=1)[0].nonzero().flatten()
    assert different.min() == 10


def test_gradient_of_weights_and_condition():
    network = decoder(blocks=1, layers=2)
    codes, condition = inputs(11, batch=2)
    parameters = dict(network.named_parameters())
    names, values = list(parameters), [p.detach().clone().requires_grad_() for p in parameters.values()]

    def logits(condition: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(network, dict(zip(names, weights, strict=True)), (codes, condition))

    assert torch.autograd.gradcheck(logits, (condition.requires_grad_(), *values))


def test_too_few_frames():
    codes, condition = inputs(11)
    with pytest.raises(ValueError, match="11 samples need 3 condition frames of 5, not 2"):
        decoder()(codes, condition[:, :, :2])
