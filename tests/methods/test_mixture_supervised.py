import dataclasses
import math

import numpy as np
import pytest
import torch

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.methods import METHODS, MixtureSupervised
from musicstar_ext.methods.mixture_supervised import MixtureSupervisedConfig

DOMAINS = {"one": ["a"], "two": ["b"], "three": ["c"]}
TINY = MixtureSupervisedConfig(
    encoder=EncoderConfig(blocks=1, layers=2, channels=6, code_channels=3, pool=10),
    decoder=DecoderConfig(blocks=1, layers=2, residual_channels=6, skip_channels=5, condition_channels=3, pool=10),
)


def tiny(**settings: str) -> MixtureSupervised:
    torch.manual_seed(0)
    return MixtureSupervised(dataclasses.replace(TINY, **settings), DOMAINS)


def crops(*tracks: str) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {track: torch.randint(0, 256, (2, 40), generator=random, dtype=torch.uint8) for track in tracks}


def test_is_registered():
    assert METHODS["mixture-supervised"] is MixtureSupervised


def test_defaults_are_the_papers():
    config = MixtureSupervisedConfig()
    recipe = (config.optimizer, config.learning_rate, config.decay, config.batch, config.epochs, config.crop_seconds)
    assert recipe == ("adam", 3e-4, 0.99, 16, 100, 1.0)
    assert (config.encoder, config.decoder) == (EncoderConfig(kind="music-star"), DecoderConfig())
    off = (config.warmup_steps, config.anneal_steps, config.clip_norm, config.ema, config.initialisation)
    assert off == (0, 0, 0.0, 0.0, "torch")


def test_loss_is_the_cross_entropy_of_the_target_given_the_source():
    model, batch = tiny(), crops("one", "two")
    logits = model.decoder(batch["two"], model.encoder(batch["one"])).double()
    log_likelihood = logits.log_softmax(dim=1).gather(1, batch["two"].long().unsqueeze(1))
    assert model.loss(batch).item() == pytest.approx(-log_likelihood.mean().item(), rel=1e-5)
    assert model.loss(batch).item() == pytest.approx(math.log(256), abs=0.3)


def test_gradient_reaches_every_weight_that_the_output_depends_on():
    model = tiny()
    model.loss(crops(*model.tracks)).backward()
    without = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without == {"decoder.layers.1.residual.weight", "decoder.layers.1.residual.bias"}  # nothing follows it


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("one", "two")),
        ({"source": "two"}, ("two", "one")),
        ({"target": "one"}, ("two", "one")),
        ({"source": "three", "target": "two"}, ("three", "two")),
    ],
)
def test_direction(settings, expected):
    model = tiny(**settings)
    assert (model.domains["source"], model.domains["target"]) == expected
    assert model.tracks == expected


@pytest.mark.parametrize("settings", [{"source": "four"}, {"target": "four"}, {"source": "two", "target": "two"}])
def test_unusable_directions(settings):
    with pytest.raises(UserError, match=r"two of the domains \(one, two, three\)"):
        tiny(**settings)


def test_a_set_of_one_domain():
    with pytest.raises(UserError, match="two of the domains"):
        MixtureSupervised(TINY, {"one": ["a"]})


def test_initialisation_is_optional():
    counts = {track: np.arange(256) for track in DOMAINS}
    plain, prepared = tiny(), tiny(initialisation="variance-preserving")
    before = plain.decoder.logits.bias.detach().clone()
    plain.initialise(counts)
    prepared.initialise(counts)
    assert torch.equal(plain.decoder.logits.bias, before)
    assert prepared.decoder.logits.bias.argmax() == 255
    assert not prepared.encoder.start.bias.any()
