import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_mixtures import DOMAINS, RATE, SMALL_SEPARATOR, write_toy_set

from musicstar_ext import checkpoints
from musicstar_ext.architecture import SeparatorSizes
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.evaluation.separation import evaluate_separation
from musicstar_ext.methods import METHODS
from musicstar_ext.methods.separator import DemucsConfig, DemucsSeparator
from musicstar_ext.separation import load_separator
from musicstar_ext.train import main, train

TINY = DemucsConfig(
    batch=3,
    crop_seconds=0.2,
    shift_seconds=0.05,
    sample_rate=RATE,
    audio_channels=2,
    network=SeparatorSizes(channels=4, depth=2, lstm_layers=1),
)
TRAINING = [
    *SMALL_SEPARATOR, "batch=4", "crop_seconds=0.4", "shift_seconds=0.05", "steps=60", "learning_rate=5e-3",
    "validation_crops=8", "validate_every=20", "save_every=20", "log_every=20", "threads=1", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def trained(toy_set, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    assert train("demucs", toy_set, run, TRAINING) == 0
    return run


def crops(rows: int = 3, samples: int = 1600, channels: int = 2) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {stem: 0.1 * torch.randn(rows, channels, samples, generator=random) for stem in ("low", "high")}


def test_is_registered():
    assert METHODS["demucs"] is DemucsSeparator


def test_defaults_are_the_papers():
    config = DemucsConfig()
    assert (config.optimizer, config.learning_rate, config.batch, config.epochs) == ("adam", 3e-4, 32, 250)
    assert (config.decay, config.clip_norm, config.clip_value, config.ema) == (1.0, 0.0, 0.0, 0.0)
    assert (config.crop_seconds, config.shift_seconds) == (11.0, 1.0)
    assert config.network == SeparatorSizes(64, 2, 6, 8, 4, 2, 2)


def test_hears_the_stems_of_one_domain():
    model = DemucsSeparator(TINY, DOMAINS)
    assert (model.domains, model.tracks) == ({"source": "low-high"}, ("low", "high"))
    assert (model.crops_are, model.full_rate, model.unit, model.branches()) == ("audio", True, "L1", ())
    other = DemucsSeparator(dataclasses.replace(TINY, source="deep-shrill"), DOMAINS)
    assert other.separator.config.sources == ("deep", "shrill")


def test_validation_loss_is_the_plain_error_on_the_sum():
    model, batch = DemucsSeparator(TINY, DOMAINS), crops()
    heard = model.separator.config.longest_valid_length(1600 - 400)
    low, high = (batch[stem][..., :heard] for stem in ("low", "high"))
    with torch.no_grad():
        separated = model.separator(low + high)
    expected = ((separated[:, 0] - low).abs().mean() + (separated[:, 1] - high).abs().mean()) / 2
    assert model.validation_loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_loss_is_of_mixtures_that_are_the_sum_of_their_stems(monkeypatch):
    """A network that gives each stem half of what it hears: the error tells what it heard and what it should give."""
    model = DemucsSeparator(TINY, DOMAINS)
    heard = []
    halves = model.separator
    monkeypatch.setattr(
        halves, "forward", lambda mixture: heard.append(mixture) or torch.stack([mixture / 2] * 2, dim=1)
    )
    silent = crops()
    silent["high"] = torch.zeros_like(silent["low"])
    loss = model.loss(silent)
    assert loss.item() == pytest.approx(heard[0].abs().mean().item() / 2, rel=1e-5)
    assert heard[0].shape[-1] == halves.config.longest_valid_length(1200)


def test_gradient_reaches_every_weight():
    model = DemucsSeparator(TINY, DOMAINS)
    model.loss(crops()).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_bf16_changes_the_loss_little():
    torch.manual_seed(0)
    model, batch = DemucsSeparator(TINY, DOMAINS), crops()
    exact = model.validation_loss(batch).item()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.validation_loss(batch)
    rounded.backward()
    assert rounded.item() == pytest.approx(exact, rel=0.02)


def test_crops_shorter_than_any_valid_length_still_train():
    model = DemucsSeparator(TINY, DOMAINS)
    assert torch.isfinite(model.loss(crops(samples=401)))


def test_training_learns_to_separate(toy_set, trained):
    checkpoint = checkpoints.load(trained / "best.safetensors")
    assert (checkpoint.method, checkpoint.domains, checkpoint.branches) == ("demucs", {"source": "low-high"}, ())
    assert checkpoint.sample_rate == RATE
    assert checkpoint.training["losses"]["unit"] == "L1"
    log = np.genfromtxt(trained / "log.csv", delimiter=",", names=True)
    validation = log["validation"][np.isfinite(log["validation"])]
    assert validation[-1] < 0.7 * validation[0]
    report = evaluate_separation(load_separator(checkpoint, "cpu", threads=1), PreparedSet.open(toy_set))
    for stem, values in report.summary().items():
        assert values["sdr"]["median"] > values["mixture_sdr"]["median"] + 1, stem


def test_resumed_equals_uninterrupted(toy_set, trained, tmp_path):
    assert train("demucs", toy_set, tmp_path / "run", [*TRAINING, "steps=33"]) == 0
    assert train("demucs", toy_set, tmp_path / "run", ["steps=60"], resume=True) == 0
    whole, resumed = (checkpoints.load(run / "latest.safetensors") for run in (trained, tmp_path / "run"))
    assert whole.step == resumed.step == 60
    for name, tensor in whole.weights["separator"].items():
        assert np.array_equal(tensor, resumed.weights["separator"][name]), name


def test_learns_on_the_full_rate_copy(tmp_path):
    folder = write_toy_set(tmp_path / "set", seconds=1)
    write_toy_set(folder / "full-rate", seconds=1, channels=2, rate=2 * RATE)
    assert train("demucs", folder, tmp_path / "run", [*TRAINING, "steps=1", "source=deep-shrill"]) == 0
    config = checkpoints.load(tmp_path / "run" / "latest.safetensors").networks["separator"]
    assert (config.sample_rate, config.audio_channels, config.sources) == (2 * RATE, 2, ("deep", "shrill"))


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("source=nobody", "source must be one of the domains (low-high, deep-shrill), not 'nobody'"),
        ("sample_rate=44100", "sample_rate=44100, but the audio to train on has 8000"),
        ("audio_channels=2", "audio_channels=2, but the audio to train on has 1"),
        ("shift_seconds=3", "shift_seconds must be below crop_seconds"),
        ("network.stride=9", "kernel_size must be at least the stride"),
        ("network.depth=0", "depth must be a positive integer"),
    ],
)
def test_unusable_settings(toy_set, tmp_path, capsys, setting, problem):
    run = tmp_path / "run"
    assert main(["demucs", "--data", str(toy_set), "--run", str(run), "--set", *TRAINING, setting]) == 2
    assert problem in capsys.readouterr().err
    assert not run.exists()
