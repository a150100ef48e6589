import numpy as np
import pytest
import torch

from musicstar_ext import checkpoints
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.nn import (
    MusicStarEncoder,
    UniversalEncoder,
    WaveNetDecoder,
    build_network,
    load_weights,
    to_checkpoint_weights,
)

SMALL = {"blocks": 1, "layers": 2}


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (EncoderConfig(kind="universal", **SMALL), UniversalEncoder),
        (EncoderConfig(kind="music-star", **SMALL), MusicStarEncoder),
        (DecoderConfig(**SMALL), WaveNetDecoder),
    ],
)
def test_network_to_weights_and_back(config, kind):
    network, other = build_network(config), build_network(config)
    assert type(network) is kind
    weights = to_checkpoint_weights(network)
    assert {name: array.shape for name, array in weights.items()} == config.tensor_shapes()
    assert all(array.dtype == np.float32 for array in weights.values())
    load_weights(other, weights)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_weights_are_a_copy():
    network = build_network(EncoderConfig(**SMALL))
    weights = to_checkpoint_weights(network)
    with torch.no_grad():
        network.start.bias += 1
    assert not np.array_equal(weights["start.bias"], network.start.bias.detach().numpy())


def test_a_checkpoint_of_any_writer_fills_the_networks(tiny_checkpoint, tiny_model):
    loaded = checkpoints.load(tiny_model)
    for name, config in loaded.networks.items():
        network = build_network(config)
        load_weights(network, loaded.weights[name])
        for tensor, array in tiny_checkpoint.weights[name].items():
            np.testing.assert_array_equal(network.state_dict()[tensor].numpy(), array)
