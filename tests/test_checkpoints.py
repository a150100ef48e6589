"""Checkpoints: what is saved is loaded, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from branch_models import STEMS, checkpoint_of

from musicstar_ext import UserError, checkpoints, models
from musicstar_ext.checkpoints import Checkpoint, main


def test_round_trip(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoints.save(tiny_checkpoint, path)
    loaded = checkpoints.load(path)
    assert loaded.networks == tiny_checkpoint.networks
    assert checkpoints.describe(loaded) == checkpoints.describe(tiny_checkpoint)
    for network, weights in tiny_checkpoint.weights.items():
        for name, array in weights.items():
            assert np.array_equal(loaded.weights[network][name], array)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_bfloat16_halves_the_file_and_rounds_to_nearest(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoints.save(tiny_checkpoint, path, dtype="bfloat16")
    for network, weights in checkpoints.load(path).weights.items():
        for name, array in weights.items():
            np.testing.assert_allclose(array, tiny_checkpoint.weights[network][name], rtol=2**-8)
    with pytest.raises(UserError, match="float32 or bfloat16"):
        checkpoints.save(tiny_checkpoint, path, dtype="int8")


def test_a_checkpoint_that_does_not_fit_its_config_is_not_saved(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights = {network: dict(tensors) for network, tensors in tiny_checkpoint.weights.items()}
    weights["decoder"]["head.bias"] = np.full(8, np.nan, np.float32)
    broken = Checkpoint(
        "mixture-supervised",
        tiny_checkpoint.networks,
        weights,
        tiny_checkpoint.domains,
        tiny_checkpoint.branches,
        tiny_checkpoint.levels,
    )
    with pytest.raises(UserError, match=r"decoder\.head\.bias holds values that are not finite"):
        checkpoints.save(broken, path)
    weights["decoder"]["head.bias"] = np.zeros(9, np.float32)
    with pytest.raises(UserError, match=r"decoder\.head\.bias has shape \(9,\)"):
        checkpoints.save(broken, path)
    del weights["decoder"]["head.bias"]
    with pytest.raises(UserError, match=r"missing or unknown, 'head\.bias' first"):
        checkpoints.save(broken, path)
    assert list(tmp_path.iterdir()) == []


def test_show(tiny_model: Path, tiny_checkpoint: Checkpoint, capsys: pytest.CaptureFixture) -> None:
    assert main(["show", str(tiny_model)]) == 0
    text = capsys.readouterr().out
    for part in (
        str(tiny_model),
        "mixture-supervised",
        "  strings-piano -> clarinet-vibraphone: encoder, decoder\n",
        "channels 8",
        "step: 7",
        "random numbers",
    ):
        assert part in text
    assert main(["show", str(tiny_model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == tiny_checkpoint.parameter_count()
    assert found["networks"]["decoder"]["condition_channels"] == 4
    assert sum(network["parameters"] for network in found["networks"].values()) == found["parameters"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["show"], "required: PATH|NAME"),
        (["show", "no-such-model"], "unknown model 'no-such-model'"),
        (["show", "none.safetensors"], "none.safetensors: cannot be read: No such file"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
    ],
)
def test_show_refuses_in_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_checkpoints_of_several_branches_and_of_none(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for branches in (STEMS, ()):
        checkpoint = checkpoint_of(branches)
        checkpoints.save(checkpoint, path)
        loaded = checkpoints.load(path)
        assert loaded.branches == branches
        assert loaded.levels == checkpoint.levels
        assert loaded.networks == checkpoint.networks


def test_shipped_models_are_found_by_name() -> None:
    for name in models.names():
        loaded = checkpoints.load(models.find(name))
        assert name == f"{loaded.domains['source']}_to_{loaded.domains['target']}"


def test_convert_to_16_bits_keeps_all_but_half_of_the_bytes(tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "half.safetensors"
    assert main(["convert", str(tiny_model), str(output), "--dtype", "bfloat16"]) == 0
    original, converted = checkpoints.load(tiny_model), checkpoints.load(output)
    assert output.stat().st_size < 0.7 * tiny_model.stat().st_size
    assert checkpoints.describe(converted) == checkpoints.describe(original)
    for network, weights in original.weights.items():
        for name, array in weights.items():
            np.testing.assert_allclose(converted.weights[network][name], array, rtol=2**-8)


@pytest.mark.parametrize(
    ("output", "message"), [("model.pt", "ends in .safetensors"), (".", "is a folder"), ("no/x.safetensors", "written")]
)
def test_convert_refuses_in_one_line(
    tiny_model: Path, tmp_path: Path, output: str, message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["convert", str(tiny_model), str(tmp_path / output)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
