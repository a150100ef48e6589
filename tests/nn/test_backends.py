"""The networks through the core's stacks equal the networks in plain torch: outputs, losses and every gradient."""

from __future__ import annotations

import pytest
import torch

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.nn import backend, build_network

ENCODERS = [
    EncoderConfig(kind, blocks=2, layers=3, channels=12, code_channels=5, pool=10)
    for kind in ("universal", "music-star")
]
DECODER = DecoderConfig(
    blocks=2, layers=3, residual_channels=12, skip_channels=9, condition_channels=5, classes=256, pool=10
)
NETWORKS = {"universal": ENCODERS[0], "music-star": ENCODERS[1], "decoder": DECODER}
every_network = pytest.mark.parametrize("name", NETWORKS)


def network_and_call(name, length=73, batch=2, dtype=torch.float32):
    torch.manual_seed(1)
    config = NETWORKS[name]
    network = build_network(config).to(dtype)
    random = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 256, (batch, length), generator=random)
    condition = torch.randn(batch, 5, -(-length // 10), generator=random, dtype=torch.float64).to(dtype)
    if name == "decoder":
        return network, lambda: network(codes, condition)
    return network, lambda: network(codes)


def outcome(network, call):
    """The output, and the gradients of a loss of it."""
    network.zero_grad(set_to_none=True)
    output = call()
    output.square().mean().backward()
    return output.detach(), {name: parameter.grad for name, parameter in network.named_parameters()}


def assert_same(found, expected, tolerance):
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, there in expected[1].items():
        here = found[1][name]
        assert (here is None) == (there is None), name
        if there is not None:
            scale = there.abs().max().item()
            torch.testing.assert_close(
                here, there, rtol=0, atol=tolerance * scale + 1e-12, msg=lambda m, n=name: f"{n}: {m}"
            )


@every_network
@pytest.mark.parametrize("length", [10, 73, 200])
def test_the_core_equals_torch(name, length):
    network, call = network_and_call(name, length)
    with backend("core"):
        found = outcome(network, call)
    with backend("torch"):
        expected = outcome(network, call)
    assert_same(found, expected, 2e-5)


@every_network
def test_each_gradient_has_its_own_memory(name):
    """Clipping and accumulation change gradients in place, one by one: none may change another."""
    network, call = network_and_call(name)
    with backend("core"):
        found = outcome(network, call)
    for gradient in found[1].values():
        if gradient is not None:
            gradient *= 2
    with backend("torch"):
        expected = outcome(network, call)
    assert_same(found, (expected[0], {key: None if g is None else 2 * g for key, g in expected[1].items()}), 2e-5)


@every_network
def test_in_float64_the_core_is_its_reference(name):
    network, call = network_and_call(name, dtype=torch.float64)
    with backend("core"):
        found = outcome(network, call)
    with backend("torch"):
        expected = outcome(network, call)
    assert_same(found, expected, 1e-12)


@every_network
def test_networks_use_the_core_by_themselves(name, monkeypatch):
    calls = []
    operation = "gated_residual_stack" if name == "decoder" else "glu_residual_stack"
    from musicstar_ext import ops

    original = getattr(ops, operation)
    monkeypatch.setattr(ops, operation, lambda *a, **k: calls.append(1) or original(*a, **k))
    network, call = network_and_call(name)
    call()
    assert len(calls) == 1
    with torch.autocast("cpu", torch.bfloat16):
        call()
    assert len(calls) == 2
    with backend("torch"):
        call()
    assert len(calls) == 2
    seen = []
    network.layers[1].register_forward_hook(lambda *_: seen.append(1))
    call()
    assert (len(calls), len(seen)) == (2, 1)
    for dtype in (torch.float64, torch.bfloat16):
        network, call = network_and_call(name, dtype=dtype)
        assert call().dtype == dtype
    assert len(calls) == 2


@every_network
def test_autocast(name):
    network, call = network_and_call(name)
    expected = outcome(network, call)
    with torch.autocast("cpu", torch.bfloat16):
        found = outcome(network, lambda: call().float())
    assert_same(found, expected, 0.1)


@every_network
def test_frozen_layers(name):
    network, call = network_and_call(name)
    expected = outcome(network, call)
    network.layers[2].requires_grad_(False)
    _, gradients = outcome(network, call)
    for parameter, gradient in gradients.items():
        if parameter.startswith("layers.2."):
            assert gradient is None
        elif gradient is not None:
            assert torch.equal(gradient, expected[1][parameter]), parameter


@every_network
def test_compiles_into_one_graph(name):
    network, _ = network_and_call(name)
    codes = torch.randint(0, 256, (2, 70), generator=torch.Generator().manual_seed(3))
    arguments = (codes, torch.ones(2, 5, 7)) if name == "decoder" else (codes,)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    found = outcome(network, lambda: compiled(*arguments))
    assert_same(found, outcome(network, lambda: network(*arguments)), 1e-6)
    torch._dynamo.reset()


def test_a_training_step_lies_on_torchs():
    """Ten steps of Adam from equal starts."""
    losses = []
    for name in ("core", "torch"):
        encoder, _ = network_and_call("music-star")
        decoder, _ = network_and_call("decoder")
        codes = torch.randint(100, 156, (2, 90), generator=torch.Generator().manual_seed(4))
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
        losses.append([])
        with backend(name):
            for _ in range(10):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(decoder(codes, encoder(codes)), codes)
                loss.backward()
                optimizer.step()
                losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0] - 0.1
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_backends_nest_and_come_back():
    from musicstar_ext.nn import backends

    with backend("torch"), backend("core"):
        assert backends._chosen == "core"
    assert backends._chosen == "auto"
    with pytest.raises(ZeroDivisionError), backend("torch"):
        _ = 1 / 0
    assert backends._chosen == "auto"


def test_an_unknown_backend_is_named():
    with (
        pytest.raises(UserError, match="backend must be one of auto, core, torch, not 'tensorflow'"),
        backend("tensorflow"),
    ):
        pass
