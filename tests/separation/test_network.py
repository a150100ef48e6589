import dataclasses
import importlib
import sys

import numpy as np
import pytest
import torch

from musicstar_ext import checkpoints
from musicstar_ext.architecture import SeparatorConfig, network_from_json, parameter_count
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import MissingExtraError, UserError
from musicstar_ext.nn import to_checkpoint_weights
from musicstar_ext.separation.network import SeparatorNetwork

SMALL = SeparatorConfig(channels=4, depth=3, lstm_layers=1, sources=("a", "b"), audio_channels=1, sample_rate=8000)
OTHERS = (
    SMALL,
    dataclasses.replace(SMALL, audio_channels=2, lstm_layers=2, sources=("a", "b", "c")),
    dataclasses.replace(SMALL, oversampling=1, growth=3, depth=2, kernel_size=6, stride=2),
)


@pytest.mark.parametrize("config", OTHERS)
def test_tensors_are_those_of_the_torch_module(config):
    state = SeparatorNetwork(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == config.tensor_shapes()


@pytest.mark.parametrize("config", OTHERS)
@pytest.mark.parametrize("samples", [1, 7, 63, 64, 65, 500, 1001])
def test_lengths_are_those_of_the_torch_module(config, samples):
    assert config.valid_length(samples) == SeparatorNetwork(config).valid_length(samples)
    longest = config.longest_valid_length(samples)
    valid = [length for length in range(1, samples + 1) if config.valid_length(length) == length]
    assert longest == (valid[-1] if valid else samples)


def test_the_defaults_are_the_model_of_2019():
    """Counted layer by layer, from the description in its paper (two stems, stereo)."""
    config = SeparatorConfig(sources=("strings", "piano"))
    sizes = (config.channels, config.growth, config.depth, config.kernel_size, config.stride, config.lstm_layers)
    assert sizes == (64, 2, 6, 8, 4, 2)
    assert (config.oversampling, config.audio_channels, config.sample_rate) == (2, 2, 44_100)
    total, inputs, outputs = 0, 2, 4
    for c in (64, 128, 256, 512, 1024, 2048):
        total += inputs * c * 8 + c  # convolution of 8, stride 4
        total += c * 2 * c + 2 * c  # 1x1, whose output the GLU halves
        total += c * 2 * c * 3 + 2 * c  # on the way up: convolution of 3
        total += c * outputs * 8 + outputs  # and the transposed convolution
        inputs = outputs = c
    for heard in (2048, 4096):  # a layer of the LSTM: four gates, both directions
        total += 2 * 4 * 2048 * (heard + 2048 + 2)
    total += 4096 * 2048 + 2048
    assert parameter_count(config) == total == 265_677_444


def test_what_later_versions_added_is_off():
    names = {type(module).__name__ for module in SeparatorNetwork(SMALL).modules()}
    assert names == {
        "SeparatorNetwork", "ModuleList", "Sequential", "Conv1d", "ConvTranspose1d", "ReLU", "GLU", "Identity",
        "BLSTM", "LSTM", "Linear",
    }  # fmt: skip
    assert not SeparatorNetwork(SMALL).normalize


@pytest.mark.parametrize("samples", [1, 100, 1001])
def test_output_has_a_stem_each_and_the_inputs_length(samples):
    config = OTHERS[1]
    stems = SeparatorNetwork(config)(torch.randn(2, 2, samples))
    assert stems.shape == (2, 3, 2, samples)


def test_checkpoint_round_trip(tmp_path):
    torch.manual_seed(0)
    network = SeparatorNetwork(SMALL)
    weights = {"separator": to_checkpoint_weights(network)}
    saved = Checkpoint("demucs", {"separator": SMALL}, weights, {"source": "both"}, (), {"both": -20.0}, 8000)
    checkpoints.save(saved, tmp_path / "model.safetensors")
    loaded = checkpoints.load(tmp_path / "model.safetensors")
    assert loaded.networks == {"separator": SMALL}
    assert loaded.branches == ()
    for name, tensor in network.state_dict().items():
        assert np.array_equal(loaded.weights["separator"][name], tensor.numpy())


def test_show_describes_it(tmp_path, capsys):
    weights = {"separator": to_checkpoint_weights(SeparatorNetwork(SMALL))}
    saved = Checkpoint("demucs", {"separator": SMALL}, weights, {"source": "both"}, (), {}, 8000)
    checkpoints.save(saved, tmp_path / "model.safetensors")
    assert checkpoints.main(["show", str(tmp_path / "model.safetensors")]) == 0
    assert "type demucs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sources": []}, "1 to 100 different names"),
        ({"sources": ["a", "a"]}, "1 to 100 different names"),
        ({"sources": "ab"}, "list of names"),
        ({"sources": [1, 2]}, "list of names"),
        ({"sources": None}, "list of names"),
        ({"channels": 0}, "channels must be a positive integer"),
        ({"channels": 2.5}, "channels must be a positive integer"),
        ({"depth": 21}, "depth must be at most 20"),
        ({"lstm_layers": 1000}, "lstm_layers must be at most 20"),
        ({"oversampling": 3}, "oversampling must be at most 2"),
        ({"audio_channels": 3}, "audio_channels must be 1 or 2"),
        ({"stride": 16}, "kernel_size must be at least the stride"),
        ({"growth": 1 << 20}, "channels x growth"),
        ({"kernel_size": 1 << 20, "stride": 1 << 20}, "must span at most"),
        ({"spleen": 1}, "unknown or missing sizes: spleen"),
    ],
)
def test_unusable_sizes_are_refused(change, problem):
    with pytest.raises(UserError, match=problem):
        network_from_json("separator", {**SMALL.to_json(), **change})


def test_says_what_is_missing_without_demucs(monkeypatch):
    monkeypatch.setitem(sys.modules, "demucs.demucs", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "musicstar_ext.separation.network")
    with pytest.raises(MissingExtraError, match=r"this needs demucs: pip install 'musicstar-ext\[separation\]'"):
        importlib.import_module("musicstar_ext.separation.network")
