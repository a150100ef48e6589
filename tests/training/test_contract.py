"""What the loop gives to a method, and what it takes from one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from musicstar_ext import checkpoints
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.methods import METHODS, MixtureSupervised, Recipe
from musicstar_ext.train import main

from .conftest import DOMAINS, melody
from .runs import losses, state


class Probe(MixtureSupervised):
    """Takes turns, wants a twin, and writes down what it is given."""

    name = "probe"
    unit = "furlongs"
    given: list

    def __init__(self, config, domains):
        super().__init__(config, domains)
        self.augmented_tracks = ("bright",)
        Probe.given = []

    def tracks_at(self, step):
        return self.tracks if step % 2 else ("bright",)

    def loss(self, crops):
        Probe.given.append({track: crop.clone() for track, crop in crops.items()})
        return super().loss({"dark": crops["bright"], "bright": crops["bright augmented"]})

    def validation_loss(self, crops):
        Probe.given.append(sorted(crops))
        return super().loss(crops)


@pytest.fixture
def run(tiny_set, tiny_settings, tmp_path, monkeypatch):
    def run(method, *settings, data=tiny_set, folder=tmp_path / "run", common=True, resume=False):
        monkeypatch.setitem(METHODS, method.name, method)
        chosen = [*(tiny_settings if common and not resume else ()), *settings]
        command = [method.name, "--data", str(data), "--run", str(folder), "--set", *chosen]
        assert main(command + ["--resume"] * resume) == 0
        return folder

    return run


def test_turns_twins_and_the_unit(run, capsys):
    folder = run(Probe, "steps=4")
    steps = [sorted(given) for given in Probe.given if isinstance(given, dict)]
    turns = [["bright", "bright augmented"], ["bright", "bright augmented", "dark"]]
    assert steps == turns * 2
    assert ["bright", "dark"] in Probe.given  # to validate: everything, as it is
    crops = next(given for given in Probe.given if isinstance(given, dict))
    assert crops["bright"].dtype == crops["bright augmented"].dtype == torch.uint8
    assert (crops["bright"] != crops["bright augmented"]).any()
    assert "furlongs" in capsys.readouterr().out.splitlines()[0]
    assert checkpoints.load(folder / "best.safetensors").training["losses"]["unit"] == "furlongs"


class FrozenEncoder(MixtureSupervised):
    name = "frozen-encoder"

    def __init__(self, config, domains):
        super().__init__(config, domains)
        self.encoder.requires_grad_(False)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_frozen_weights_stay_and_have_no_state(run, tmp_path, optimizer):
    everything = (f"optimizer={optimizer}", "ema=0.9", "clip_norm=1", "clip_value=0.1", "learning_rate=0.01")
    before = state(run(FrozenEncoder, *everything, "max_minutes=1e-9"))
    folder = run(FrozenEncoder, *everything, "steps=6", folder=tmp_path / "other")
    after = state(folder)
    moved = {name for name, weight in after["model"].items() if not torch.equal(weight, before["model"][name])}
    without_gradient = {"decoder.layers.3.residual.weight", "decoder.layers.3.residual.bias"}  # the last layer's
    assert moved == {name for name in after["model"] if name.startswith("decoder.")} - without_gradient
    assert {name.partition(".")[0] for name in after["average"]} == {"decoder"}
    assert sum(len(optimizer["state"]) for optimizer in after["optimizer"]) == len(moved)


class Audio(MixtureSupervised):
    """Hears audio, and turns it into codes itself."""

    name = "audio"
    crops_are = "audio"
    full_rate = True
    shapes: list

    def initialise(self, code_counts):
        assert code_counts == {}
        Audio.shapes = []

    def loss(self, crops):
        Audio.shapes += [(crop.dtype, tuple(crop.shape)) for crop in crops.values()]
        return super().loss({track: (crop.mean(1) * 127 + 128).byte() for track, crop in crops.items()})


def test_audio_of_the_full_rate_copy(run, tmp_path):
    data, full = tmp_path / "data", tmp_path / "data" / "full-rate"
    full.mkdir(parents=True)
    for folder, rate, channels in ((data, 16_000, 1), (full, 32_000, 2)):
        entries = {}
        for number, split in enumerate(("train", "validation")):
            notes = melody(number, 1.0, 2).repeat(rate // 16_000)
            samples = notes if channels == 1 else notes[:, None].repeat(2, axis=1)
            tracks = {track: samples for domain, stems in DOMAINS.items() for track in (*stems, domain)}
            entries[f"piece-{number}"] = write_piece(folder, f"piece-{number}", tracks, rate, {"split": split})
        write_description(folder, rate, DOMAINS, entries, {}, channels=channels)
    folder = run(Audio, "steps=2", "crop_seconds=0.1", data=data)
    assert set(Audio.shapes) == {(torch.float32, (2, 2, 3200))}
    assert checkpoints.load(folder / "latest.safetensors").sample_rate == 32_000


@dataclasses.dataclass(frozen=True)
class DroppedConfig(MixtureSupervised.config_type):
    pass


class Dropping(MixtureSupervised):
    """Draws random numbers in its loss."""

    name = "dropping"
    config_type = DroppedConfig

    def loss(self, crops):
        return super().loss(crops) * (1 + 0.1 * torch.rand(()))


def test_what_a_loss_draws_is_a_function_of_the_step(run, tmp_path):
    whole = run(Dropping, "steps=8", "validate_every=100", "log_every=1")
    parts = run(Dropping, "steps=3", "validate_every=100", "log_every=1", folder=tmp_path / "parts")
    torch.rand(17)  # another process has drawn other numbers
    run(Dropping, "steps=8", folder=parts, resume=True)
    assert [row[:2] for row in losses(parts)] == [row[:2] for row in losses(whole)]
    drawn = run(Dropping, "steps=8", "log_every=1", "validate_every=100", "seed=1", folder=tmp_path / "other")
    assert losses(drawn)[1] != losses(whole)[1]


def test_clip_value_is_the_largest_element_of_the_gradient(run, monkeypatch):
    from musicstar_ext.training.optimizers import Optimizers

    largest = []
    step = Optimizers.step

    def recorded(optimizers, learning_rate):
        groups = [group for optimizer in optimizers._all for group in optimizer.param_groups]
        grads = [weight.grad for group in groups for weight in group["params"] if weight.grad is not None]
        largest.append(max(grad.abs().max().item() for grad in grads))
        step(optimizers, learning_rate)

    monkeypatch.setattr(Optimizers, "step", recorded)
    run(MixtureSupervised, "steps=3", "clip_value=0.001")
    assert largest == pytest.approx([0.001] * 3)


def test_nothing_is_clipped_by_default():
    assert Recipe().clip_value == Recipe().clip_norm == 0


def test_a_warm_start_takes_the_networks_that_are_there(run, tmp_path, capsys):
    start = run(MixtureSupervised, "steps=2") / "latest.safetensors"
    weights = checkpoints.load(start).weights

    class Renamed(MixtureSupervised):
        name = "renamed"

        def networks(self):
            return {"listener": self.encoder, "decoder": self.decoder}

        def branches(self):
            return tuple(dataclasses.replace(branch, encoder="listener") for branch in super().branches())

    other = run(Renamed, f"init_from={start}", "max_minutes=1e-9", folder=tmp_path / "other") / "latest.safetensors"
    found = checkpoints.load(other)
    same = [(found.weights["decoder"][name] == weight).all() for name, weight in weights["decoder"].items()]
    assert all(same)
    same = [(found.weights["listener"][name] == weight).all() for name, weight in weights["encoder"].items()]
    assert not any(same)
    assert found.training["config"]["init_from"] == "latest.safetensors"


def test_a_batch_in_parts_is_the_same_batch(run, tmp_path):
    """Parts that do not divide the batch evenly: each counts by its crops."""
    settings = ("batch=5", "steps=6", "clip_norm=1")
    whole = state(run(MixtureSupervised, *settings))["model"]
    parts = state(run(MixtureSupervised, *settings, "micro_batch=2", folder=tmp_path / "parts"))["model"]
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-4, atol=2e-5)
