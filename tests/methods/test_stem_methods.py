"""single-instrument, embedding-supervised and stem-supervised: what they hear, what they learn, what stays."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from methods.tiny_models import DECODER, DOMAINS, ENCODER, UNIVERSAL, build, crops, nats, save
from torch.nn import functional

from musicstar_ext import checkpoints
from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.errors import UserError
from musicstar_ext.methods.embedding_supervised import EmbeddingSupervisedConfig
from musicstar_ext.methods.single_instrument import SingleInstrumentConfig
from musicstar_ext.methods.stem_supervised import StemSupervisedConfig
from musicstar_ext.nn import ByStem, WaveNetDecoder
from musicstar_ext.training.optimizers import Optimizers

PAIRS = [("oboe", "viola"), ("horn", "bass"), ("keys", "harp")]
METHODS = ("universal-network", "single-instrument", "embedding-supervised", "stem-supervised", "mixture-supervised")


def recipe(config):
    return config.optimizer, config.learning_rate, config.decay, config.batch, config.epochs, config.crop_seconds


def test_defaults_are_the_papers():
    assert recipe(SingleInstrumentConfig()) == ("adam", 1e-3, 0.98, 16, 100, 0.75)
    assert recipe(EmbeddingSupervisedConfig()) == ("adam", 3e-4, 0.98, 16, 100, 0.75)
    assert recipe(StemSupervisedConfig()) == ("adam", 3e-4, 0.99, 16, 100, 1.0)
    for config in (SingleInstrumentConfig(), EmbeddingSupervisedConfig(), StemSupervisedConfig()):
        off = (config.warmup_steps, config.anneal_steps, config.clip_norm, config.clip_value, config.ema)
        assert off == (0, 0, 0.0, 0.0, 0.0)
    assert EmbeddingSupervisedConfig().encoder == EncoderConfig(kind="music-star", blocks=4, layers=14)
    assert StemSupervisedConfig().encoder == EncoderConfig(kind="music-star", blocks=4, layers=14)
    assert StemSupervisedConfig().decoder == DecoderConfig(blocks=4, layers=10)


@pytest.mark.parametrize("name", METHODS)
def test_a_few_steps_lower_the_loss_and_frozen_weights_stay(name, tmp_path):
    model = build(name, tmp_path, {"a": ["x", "y"], "b": ["z", "w"]}, learning_rate=3e-3)
    frozen = {key: weight.clone() for key, weight in model.named_parameters() if not weight.requires_grad}
    optimizer, batch = Optimizers(model, model.config), crops(model)
    with torch.no_grad():
        first = model.validation_loss(batch).item()
    for step in range(12):
        tracks = model.tracks_at(step)
        wanted = {key: crop for key, crop in batch.items() if key.removesuffix(" augmented") in tracks}
        optimizer.zero_grad()
        model.loss(wanted).backward()
        optimizer.step(3e-3)
    with torch.no_grad():
        assert model.validation_loss(batch).item() < first
    for key, weight in model.named_parameters():
        assert key not in frozen or torch.equal(weight, frozen[key]), key
    assert bool(frozen) == (name in ("single-instrument", "embedding-supervised"))


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_holds_what_its_branches_need(name, tmp_path):
    model = build(name, tmp_path)
    checkpoint = checkpoints.load(save(model, tmp_path / "it.safetensors"))
    assert checkpoint.branches == model.branches()
    assert checkpoint.networks.keys() == model.networks().keys()
    used = {network for branch in checkpoint.branches for network in (branch.encoder, branch.decoder)}
    assert used == checkpoint.networks.keys() or name == "universal-network"


def test_single_instrument_hears_and_plays_the_targets_stems(tmp_path):
    model = build("single-instrument", tmp_path)
    assert model.tracks == ("viola", "bass", "harp")
    assert [(b.source, b.target, b.encoder, b.decoder) for b in model.branches()] == [
        (heard, played, "encoder", f"decoder.{played}") for heard, played in PAIRS
    ]
    batch = crops(model)
    expected = [nats(model.decoders[stem](codes, model.encoder(codes)), codes) for stem, codes in batch.items()]
    assert model.loss(batch).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_single_instrument_starts_from_the_universal_network(tmp_path):
    model = build("single-instrument", tmp_path)
    start = checkpoints.load(tmp_path / "universal.safetensors")
    model.initialise({})
    for name, network in model.networks().items():
        assert network.config == start.networks[name]
        for key, weight in network.state_dict().items():
            assert np.array_equal(weight.numpy(), start.weights[name][key])


def test_stem_supervised_hears_the_mixture_and_plays_the_stems(tmp_path):
    model = build("stem-supervised", tmp_path)
    assert model.tracks == ("winds", "viola", "bass", "harp")
    assert [(b.source, b.target, b.encoder, b.decoder) for b in model.branches()] == [
        ("winds", stem, f"encoder.{stem}", f"decoder.{stem}") for stem in DOMAINS["strings"]
    ]
    batch = crops(model)
    expected = [
        nats(model.decoders[stem](batch[stem], model.encoders[stem](batch["winds"])), batch[stem])
        for stem in model.stems
    ]
    assert model.loss(batch).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_stem_supervised_trains_each_autoencoder_as_if_alone(tmp_path):
    """Up to a factor, of which Adam's steps do not depend."""
    domains = {"a": ["x", "y"], "b": ["z", "w"]}
    together, apart = (build("stem-supervised", tmp_path, domains) for _ in range(2))
    batch = crops(together)
    together.loss(batch).backward()
    logits = apart.decoders["w"](batch["w"], apart.encoders["w"](batch["a"]))
    functional.cross_entropy(logits, batch["w"].long()).backward()
    for networks in ("encoders", "decoders"):
        for a, b in zip(*(getattr(model, networks)["w"].parameters() for model in (together, apart)), strict=True):
            assert (a.grad is None) == (b.grad is None)  # as in the last layer's residual: nothing follows it
            if a.grad is not None:
                torch.testing.assert_close(2 * a.grad, b.grad)


def test_embedding_supervised_imitates_the_universal_codes(tmp_path):
    model = build("embedding-supervised", tmp_path)
    assert model.unit == "L1"
    assert model.tracks == ("winds", "oboe", "horn", "keys")
    assert [(b.source, b.target, b.encoder, b.decoder) for b in model.branches()] == [
        ("winds", played, f"encoder.{heard}", f"decoder.{played}") for heard, played in PAIRS
    ]
    batch = crops(model)
    with torch.no_grad():
        differences = [model.encoders[s](batch["winds"]) - model.teacher(batch[s]) for s in model.stems]
    expected = np.mean([np.abs(difference.double().numpy()).mean() for difference in differences])
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_embedding_supervised_keeps_the_decoders_of_single_instrument(tmp_path):
    model = build("embedding-supervised", tmp_path)
    start = checkpoints.load(tmp_path / "single.safetensors")
    networks = model.networks()
    assert {name for name in networks if name.startswith("decoder")} == {f"decoder.{played}" for _, played in PAIRS}
    for _, played in PAIRS:
        for key, weight in networks[f"decoder.{played}"].state_dict().items():
            assert np.array_equal(weight.numpy(), start.weights[f"decoder.{played}"][key])


def test_initialisation(tmp_path):
    stems = build("stem-supervised", tmp_path, initialisation="variance-preserving")
    stems.initialise({track: np.eye(256, dtype=np.int64)[n] * 1000 for n, track in enumerate(stems.tracks)})
    assert [decoder.logits.bias.argmax().item() for _, decoder in stems.decoders.items()] == [1, 2, 3]
    embedding = build("embedding-supervised", tmp_path, initialisation="variance-preserving")
    before = {name: weight.clone() for name, weight in embedding.decoders.named_parameters()}
    embedding.initialise({})
    assert not any(encoder.start.bias.any() for _, encoder in embedding.encoders.items())
    assert all(torch.equal(weight, before[name]) for name, weight in embedding.decoders.named_parameters())


WRONG = {
    "no path": ("single-instrument", "", {}, "universal must name a checkpoint of universal-network"),
    "no file": ("single-instrument", "nowhere.safetensors", {}, "nowhere.safetensors: cannot be read"),
    "another method": ("embedding-supervised", "universal", {}, "must be a checkpoint of single-instrument, this is"),
    "other sizes": (
        "embedding-supervised",
        "single",
        {"encoder": dataclasses.replace(ENCODER, code_channels=5)},
        "encoder.code_channels must be 3, as in",
    ),
    "the other direction": (
        "embedding-supervised",
        "single",
        {"source": "strings"},
        "does not translate viola to oboe; it translates oboe to viola, horn to bass",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_prerequisite_is_refused(case, tmp_path):
    name, checkpoint, settings, message = WRONG[case]
    build("embedding-supervised", tmp_path)
    made = tmp_path / f"{checkpoint}.safetensors"
    field = {"single-instrument": "universal", "embedding-supervised": "single"}[name]
    with pytest.raises(UserError, match=message) as error:
        build(name, tmp_path, **{field: str(made) if made.exists() else checkpoint}, **settings)
    assert "\n" not in str(error.value)


def test_a_prerequisite_of_other_stems_is_refused(tmp_path):
    other = save(build("universal-network", tmp_path, stems="oboe,bass"), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="has no decoder of 'viola'; it has oboe, bass"):
        build("single-instrument", tmp_path, universal=other)


def test_a_folder_is_no_prerequisite(tmp_path):
    with pytest.raises(UserError, match=r"is a folder; universal must name a checkpoint, e.g. .*best.safetensors"):
        build("single-instrument", tmp_path, universal=str(tmp_path))


@pytest.mark.parametrize(("name", "field"), [("single-instrument", "universal"), ("embedding-supervised", "single")])
def test_a_prerequisite_of_another_sample_rate_is_refused(name, field, tmp_path):
    model = build(name, tmp_path)
    at = SimpleNamespace(sample_rate=16_000)
    assert type(model).config_for(model.config, at) == model.config
    other = SimpleNamespace(sample_rate=22_050)
    with pytest.raises(UserError, match=f"{field}.safetensors: is for 16000 Hz, the set has 22050 Hz"):
        type(model).config_for(model.config, other)


def test_a_prerequisite_for_other_codes_is_refused(tmp_path):
    universal = build("universal-network", tmp_path, {"a": ["x"], "b": ["y"]})
    assert universal.encoder.config == UNIVERSAL
    coarse = WaveNetDecoder(dataclasses.replace(DECODER, classes=128))
    universal.decoders = ByStem(dict.fromkeys(universal.stems, coarse))
    path = save(universal, tmp_path / "coarse.safetensors")
    with pytest.raises(UserError, match="has 128 classes, not the 256 mu-law codes"):
        build("single-instrument", tmp_path, {"a": ["x"], "b": ["y"]}, universal=path)
