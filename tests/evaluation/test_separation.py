import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_mixtures import RATE, tones, write_toy_set

from musicstar_ext import checkpoints
from musicstar_ext.architecture import SeparatorConfig
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.errors import UserError
from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.separation import evaluate_separation, matching_set, sdr, si_sdr
from musicstar_ext.nn import to_checkpoint_weights
from musicstar_ext.separation.network import SeparatorNetwork

CONFIG = SeparatorConfig(
    channels=4, depth=2, lstm_layers=1, sources=("low", "high"), audio_channels=1, sample_rate=RATE
)


class Halves:
    """Stands for a separator: gives each stem half of what it hears, in blocks of odd lengths."""

    stems = ("low", "high")

    def __init__(self, channels: int = 1, sample_rate: int = RATE) -> None:
        self.channels, self.sample_rate = channels, sample_rate

    def separate(self, blocks):
        heard = np.concatenate([np.broadcast_to(block, (len(block), self.channels)) for block in blocks])
        for start in range(0, len(heard), 777):
            half = heard[start : start + 777].mean(axis=1) / 2
            yield dict.fromkeys(self.stems, half)


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"), seconds=1.0)


@pytest.fixture(scope="module")
def separator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    weights = {"separator": to_checkpoint_weights(SeparatorNetwork(CONFIG))}
    path = tmp_path_factory.mktemp("separator") / "best.safetensors"
    saved = Checkpoint("demucs", {"separator": CONFIG}, weights, {"source": "low-high"}, (), {}, RATE)
    checkpoints.save(saved, path)
    return path


def test_by_hand():
    s, e = np.array([3.0, 4.0]), np.array([3.0, 2.0])
    assert sdr(s, e) == pytest.approx(10 * math.log10(25 / 4))
    # <e, s> = 17, a = 17/25: a s has energy 289/25, and what is left of e 13 - 289/25 = 36/25
    assert si_sdr(s, e) == pytest.approx(10 * math.log10(289 / 36))


def test_gain_and_noise():
    random = np.random.default_rng(0)
    s, n = random.standard_normal((2, 20_000))
    noisy = s + 0.1 * n
    assert sdr(s, noisy) == pytest.approx(20, abs=0.2)
    assert sdr(s, 0.5 * s) == pytest.approx(20 * math.log10(2))
    assert si_sdr(s, 7 * noisy) == pytest.approx(si_sdr(s, noisy))
    assert si_sdr(s, -noisy) == pytest.approx(si_sdr(s, noisy))


def test_extremes():
    s, zero = np.array([1.0, -2.0, 2.0]), np.zeros(3)
    assert sdr(s, s) == math.inf
    assert si_sdr(s, 2 * s) == math.inf
    assert sdr(s, zero) == 0
    assert si_sdr(s, zero) == -math.inf
    assert si_sdr(s, np.array([2.0, 1.0, 0.0])) == -math.inf  # nothing of s in it
    assert math.isnan(sdr(zero, s))
    assert math.isnan(si_sdr(zero, s))


@pytest.mark.parametrize("other", [np.zeros(4), np.zeros((3, 1)), np.zeros(0)])
def test_stems_of_different_shapes(other):
    with pytest.raises(ValueError, match="shapes"):
        sdr(np.zeros(3), other)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("heard_channels", [1, 2])
def test_report_of_a_known_separator(tmp_path, channels, heard_channels):
    prepared = PreparedSet.open(write_toy_set(tmp_path, seconds=0.5, channels=channels))
    done = []
    report = evaluate_separation(Halves(heard_channels), prepared, "train", progress=done.append)
    assert list(report.pieces) == ["piece-0", "piece-1"]
    pieces = prepared.pieces("train")
    assert sum(done) == sum(piece.samples for piece in pieces)
    for piece in pieces:
        stems = {stem: piece.audio(stem).astype(float).reshape(piece.samples, -1).mean(axis=1) for stem in Halves.stems}
        mixture = stems["low"] + stems["high"]
        for stem, true in stems.items():
            expected = {
                "sdr": sdr(true, mixture / 2),
                "si_sdr": si_sdr(true, mixture),
                "mixture_sdr": sdr(true, mixture),
                "mixture_si_sdr": si_sdr(true, mixture),
            }
            assert report.pieces[piece.name][stem] == pytest.approx(expected, abs=1e-3)
    low = [entry["low"]["sdr"] for entry in report.pieces.values()]
    assert report.summary()["low"]["sdr"] == pytest.approx({"median": np.median(low), "mean": np.mean(low)})


def quiet_set(folder: Path) -> PreparedSet:
    """Two test pieces, in the second of which one stem is silent; mixtures at half their stems' gain."""
    entries = {}
    for number in range(2):
        low, high = tones(number, RATE // 2, 150.0), tones(number, RATE // 2, 1200.0) * (number == 0)
        tracks = {"low": low, "high": high.astype(np.int16), "both": ((low + high) // 2).astype(np.int16)}
        entries[f"{number}"] = write_piece(folder, f"{number}", tracks, RATE, {"split": "test"})
    write_description(folder, RATE, {"both": ["low", "high"]}, entries, {"command": "tests"})
    return PreparedSet.open(folder)


def test_silent_stems_are_left_out(tmp_path):
    report = evaluate_separation(Halves(), quiet_set(tmp_path))
    assert {name: set(stems) for name, stems in report.pieces.items()} == {"0": {"low", "high"}, "1": {"low"}}
    summary = report.summary()
    assert (summary["low"]["pieces"], summary["high"]["pieces"]) == (2, 1)


def test_the_sets_own_mixtures(tmp_path):
    prepared = quiet_set(tmp_path)
    of_sums, own = (evaluate_separation(Halves(), prepared, own_mixtures=choice) for choice in (False, True))
    assert own.pieces["1"]["low"]["mixture_sdr"] == pytest.approx(20 * math.log10(2), abs=0.01)  # half of the stem
    assert of_sums.pieces["1"]["low"]["mixture_sdr"] == math.inf


def test_finds_the_copy_of_the_separators_rate(toy_set, tmp_path):
    folder = write_toy_set(tmp_path / "set", seconds=0.1)
    write_toy_set(folder / "full-rate", seconds=0.1, rate=2 * RATE)
    prepared = PreparedSet.open(folder)
    assert matching_set(prepared, RATE) is prepared
    assert matching_set(prepared, 2 * RATE).folder == folder / "full-rate"
    with pytest.raises(UserError, match="has 8000 and 16000 Hz, the separator hears 44100 Hz"):
        matching_set(prepared, 44_100)
    with pytest.raises(UserError, match="hears 44100 Hz"):
        evaluate_separation(Halves(sample_rate=44_100), prepared)


def test_command(toy_set, separator, capsys):
    arguments = ["separation", str(separator), "--data", str(toy_set), "--split", "validation", "--threads", "1"]
    assert main(arguments) == 0
    table = capsys.readouterr().out.splitlines()
    assert "1 piece (validation)" in table[0]
    assert {line.split()[0] for line in table[2:]} == {"low", "high"}
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "validation"
    assert found["stems"]["low"]["sdr"]["median"] == found["pieces"]["piece-2"]["low"]["sdr"]


def test_json_knows_no_infinity(tmp_path, separator, capsys):
    quiet_set(tmp_path)
    assert main(["separation", str(separator), "--data", str(tmp_path), "--json"]) == 0
    assert "Infinity" not in (text := capsys.readouterr().out)
    assert json.loads(text)["pieces"]["1"]["low"]["mixture_sdr"] is None  # the only stem is the mixture


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["MISSING"], "MISSING: cannot be read"),
        (["SEPARATOR", "--split", "exam"], "split must be one of"),
        (["SEPARATOR", "--data", "NOWHERE"], "NOWHERE: no such folder"),
        (["SEPARATOR", "--device", "abacus"], "device must be"),
        (["SEPARATOR", "--threads", "-1"], "--threads must be at least 0"),
        (["MODEL"], "has no separator"),
    ],
)
def test_unusable_input(toy_set, separator, tiny_model, tmp_path, capsys, arguments, problem):
    names = {"SEPARATOR": str(separator), "MODEL": str(tiny_model)}
    given = [names.get(argument, argument) for argument in arguments]
    assert main(["separation", "--data", str(toy_set), *given]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_other_stems_and_empty_splits(toy_set, tmp_path):
    stranger = Halves()
    stranger.stems = ("low", "middle")
    with pytest.raises(UserError, match="no domain has just the separator's stems, low, middle"):
        evaluate_separation(stranger, PreparedSet.open(toy_set))
    prepared = quiet_set(tmp_path)
    with pytest.raises(UserError, match="no pieces in the split 'train'"):
        evaluate_separation(Halves(), prepared, "train")
