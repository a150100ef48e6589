import pytest
import torch

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.methods import Recipe
from musicstar_ext.nn import WaveNetDecoder
from musicstar_ext.training.optimizers import Optimizers


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_every_weight_is_stepped_once(name):
    decoder = WaveNetDecoder(DecoderConfig(blocks=1, layers=2, residual_channels=8, skip_channels=8))
    optimizers = Optimizers(decoder, Recipe(optimizer=name))
    for weight in decoder.parameters():
        weight.grad = torch.ones_like(weight)
    before = {key: value.clone() for key, value in decoder.state_dict().items()}
    optimizers.step(1e-3)
    changes = {key: (value - before[key]).abs().max().item() for key, value in decoder.state_dict().items()}
    assert all(0 < change < 5e-3 for change in changes.values())
    optimizers.zero_grad()
    assert all(weight.grad is None for weight in decoder.parameters())


def test_muon_takes_the_matrices_between_hidden_channels():
    decoder = WaveNetDecoder(DecoderConfig(blocks=1, layers=1, residual_channels=8, skip_channels=8))
    optimizers = Optimizers(decoder, Recipe(optimizer="muon"))
    stepped_by_muon = {id(weight) for weight in optimizers.matrices}
    names = {name for name, weight in decoder.named_parameters() if id(weight) in stepped_by_muon}
    hidden = ("dilated", "condition", "residual", "skip")
    layers = {f"layers.0.{name}.weight" for name in hidden}
    assert names == layers | {"first_skip.weight", "head.weight", "head_condition.weight"}
