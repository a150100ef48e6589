"""Imported checkpoints compute what the published networks compute, and become the branches that they should."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import _musicstar_core as core
import numpy as np
import pytest
import torch
from published_equations import State, decode, encode, random_decoder, random_encoder
from random_networks import FP32_TOLERANCE, random_codes, sizes

from musicstar_ext import checkpoints
from musicstar_ext.checkpoints import Branch, Checkpoint, main
from musicstar_ext.runtime import load


def write(path: Path, states: dict[str, State], settings: dict[str, Any] | None = None, **options: bool) -> Path:
    """A published checkpoint, and `args.pth` beside it, which lists the namespace and the epoch as the code does."""
    path.parent.mkdir(exist_ok=True)
    torch.save({**states, "dataset": 0, "model_optimizer_state": {"state": {}, "param_groups": []}}, path, **options)
    if settings is not None:
        torch.save([argparse.Namespace(**settings), 17], path.parent / "args.pth", **options)
    return path


def settings_of(encoder: tuple[int, int], decoder: tuple[int, int], **others: Any) -> dict[str, Any]:
    data = [Path("somewhere/strings"), Path("somewhere/piano")]
    names = ("encoder_blocks", "encoder_layers", "blocks", "layers")
    return dict(zip(names, (*encoder, *decoder), strict=True)) | {"encoder_func": "relu", "data": data, **others}


def convert(*arguments: object) -> Checkpoint:
    """The command, whose last argument that is not an option is OUT; and what it wrote."""
    assert main(["convert", *map(str, arguments)]) == 0
    return checkpoints.load(next(str(path) for path in arguments if str(path).endswith(".safetensors")))


def agree_on_codes(checkpoint: Checkpoint, branch: Branch, expected: np.ndarray, codes: np.ndarray) -> None:
    config, weights = checkpoint.networks[branch.encoder], checkpoint.weights[branch.encoder]
    tolerance = FP32_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(core.ReferenceEncoder(sizes(config), weights).encode(codes), expected, atol=tolerance)
    encoder = core.Encoder(sizes(config), weights)
    found = np.concatenate([encoder.push(codes), encoder.finish()])
    np.testing.assert_allclose(found, expected, atol=tolerance)


def agree_on_logits(
    checkpoint: Checkpoint, branch: Branch, expected: np.ndarray, codes: np.ndarray, code: np.ndarray
) -> None:
    config, weights = checkpoint.networks[branch.decoder], checkpoint.weights[branch.decoder]
    tolerance = FP32_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    reference = core.ReferenceSampler(sizes(config), weights)
    np.testing.assert_allclose(reference.teacher_forced(code, codes), expected, atol=tolerance)
    sampler = core.Sampler(sizes(config), weights)
    sampler.reset(0.0)
    np.testing.assert_allclose(sampler.score(code[None], codes[None])[0], expected, atol=tolerance)


# Blocks and layers are the published ones; 128 channels would take the scalar reference many seconds.
CASES = {  # encoder, decoder, whether Fig. 4b, channels, widths of the decoder, channels of the code
    "Music-STAR": ((4, 14), (4, 10), True, 32, {"residual": 32, "skip": 32}, 64),
    "Music-STAR, decoder of 14 layers a block": ((1, 14), (4, 14), True, 16, {"residual": 16, "skip": 24}, 64),
    "music-translation": ((3, 10), (4, 10), False, 32, {"residual": 32, "skip": 32}, 64),
    "a code of 48": ((3, 10), (2, 14), False, 16, {"residual": 24, "skip": 16}, 48),
}


@pytest.mark.parametrize("case", CASES)
def test_the_converted_networks_compute_the_published_equations(case: str, tmp_path: Path) -> None:
    encoder_sizes, decoder_sizes, gated, channels, widths, width = CASES[case]
    encoder_state = random_encoder(math.prod(encoder_sizes), gated, channels, width)
    decoder_state = random_decoder(math.prod(decoder_sizes), code=width, **widths)
    source = write(
        tmp_path / "bestmodel_0.pth",
        {"encoder_state": encoder_state, "decoder_state": decoder_state},
        settings_of(encoder_sizes, decoder_sizes, encoder_pool=800, latent_d=width),
    )
    checkpoint = convert(
        source, tmp_path / "out.safetensors", "--source", "strings-piano", "--target", "clarinet-vibraphone"
    )
    assert checkpoint.branches == (Branch("strings-piano", "clarinet-vibraphone"),)
    assert checkpoint.method == ("mixture-supervised" if gated else "universal-network")
    assert checkpoint.training == {"imported": ["bestmodel_0.pth"]}
    assert checkpoint.levels == {"strings-piano": -14.0, "clarinet-vibraphone": -14.0}

    codes = random_codes(800)
    with torch.no_grad():
        code = encode(encoder_state, torch.from_numpy(codes), *encoder_sizes, gated).T.numpy().copy()
    agree_on_codes(checkpoint, checkpoint.branches[0], code, codes)
    teacher = random_codes(50, seed=2)
    with torch.no_grad():
        logits = decode(decoder_state, torch.from_numpy(teacher), torch.from_numpy(code.T), *decoder_sizes).T.numpy()
    agree_on_logits(checkpoint, checkpoint.branches[0], logits, teacher, code)


SMALL = {"channels": 8, "code": 6}
NARROW = {"residual": 8, "skip": 8, "code": 6}
SETTINGS = settings_of((2, 3), (1, 4))


def small_states(seed: int = 0, gated: bool = True, **others: int) -> dict[str, State]:
    return {
        "encoder_state": random_encoder(6, gated, **SMALL, seed=seed),
        "decoder_state": random_decoder(4, **{**NARROW, **others}, seed=seed + 100),
    }


@pytest.mark.parametrize("new", [True, False])
def test_both_formats_of_torch_and_wrapped_or_halved_weights(new: bool, tmp_path: Path) -> None:
    plain = small_states()
    wrapped = {key: {f"module.{name}": tensor.half() for name, tensor in state.items()} for key, state in plain.items()}
    options = ["--source", "a", "--target", "b"]
    first = write(tmp_path / "1" / "x.pth", plain, SETTINGS, _use_new_zipfile_serialization=new)
    second = write(tmp_path / "2" / "x.pth", wrapped, SETTINGS, _use_new_zipfile_serialization=new)
    one = convert(first, tmp_path / "1.safetensors", *options)
    two = convert(second, tmp_path / "2.safetensors", *options)
    assert one.networks == two.networks
    for network, weights in one.weights.items():
        for name, array in weights.items():
            np.testing.assert_allclose(two.weights[network][name], array, atol=2e-3)


def test_blocks_by_option_where_no_settings_are(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = write(tmp_path / "x.pth", small_states())
    arguments = [source, tmp_path / "out.safetensors", "--source", "a", "--target", "b"]
    assert main(["convert", *map(str, arguments)]) == 2
    line = capsys.readouterr().err
    assert "the 6 layers of the encoder may be 6 x 1, 3 x 2, 2 x 3, 1 x 6: there is no args.pth" in line
    assert "--encoder-layers N" in line
    checkpoint = convert(*arguments, "--encoder-layers", 3, "--decoder-layers", 4)
    assert (checkpoint.networks["encoder"].blocks, checkpoint.networks["encoder"].layers) == (2, 3)  # type: ignore[union-attr]
    assert main(["convert", *map(str, arguments), "--encoder-layers", "4", "--decoder-layers", "4"]) == 2
    assert "the encoder has 6 layers, which are not 1 blocks of 4" in capsys.readouterr().err


def test_settings_are_not_read_where_the_options_say_all(tmp_path: Path) -> None:
    source = write(tmp_path / "x.pth", small_states())
    (tmp_path / "args.pth").write_bytes(b"damaged")
    convert(
        source,
        tmp_path / "o.safetensors",
        "--source",
        "a",
        "--target",
        "b",
        "--encoder-layers",
        3,
        "--decoder-layers",
        4,
    )


def test_files_of_one_encoder_become_stems_that_share_it(tmp_path: Path) -> None:
    encoder = small_states(gated=False)["encoder_state"]
    files = [
        write(tmp_path / f"bestmodel_{i}.pth", {**small_states(seed=i), "encoder_state": encoder}, SETTINGS)
        for i in range(2)
    ]
    checkpoint = convert(
        *files, tmp_path / "o.safetensors", "--sources", "strings,piano", "--targets", "clarinet, vibraphone",
        "--source-level=-20,-23", "--target-level", "-21", "--dtype", "bfloat16",
    )  # fmt: skip
    assert checkpoint.method == "single-instrument"
    assert checkpoint.domains == {"source": "strings-piano", "target": "clarinet-vibraphone"}
    assert checkpoint.branches == (
        Branch("strings", "clarinet", "encoder", "decoder.clarinet"),
        Branch("piano", "vibraphone", "encoder", "decoder.vibraphone"),
    )
    assert checkpoint.levels["strings"] == -20
    assert checkpoint.levels["piano"] == -23
    assert checkpoint.levels["vibraphone"] == -21
    assert checkpoint.levels["strings-piano"] == pytest.approx(-18.2356, abs=1e-3)
    tone = 0.1 * np.sin(np.arange(3000) / 5)
    translator = load(tmp_path / "o.safetensors", threads=1)
    assert len(translator.translate_stems({"piano": tone, "strings": tone}, 16_000)) == 3000


def test_files_of_different_encoders_become_branches_of_a_mixture(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.pth", small_states(seed=i), SETTINGS) for i in range(2)]
    checkpoint = convert(*files, tmp_path / "o.safetensors", "--source", "mix", "--target", "a,b", "--method", "mine")
    assert checkpoint.method == "mine"
    assert checkpoint.branches == (
        Branch("mix", "a", "encoder.a", "decoder.a"),
        Branch("mix", "b", "encoder.b", "decoder.b"),
    )
    assert not np.array_equal(
        checkpoint.weights["encoder.a"]["start.weight"], checkpoint.weights["encoder.b"]["start.weight"]
    )
    assert len(load(tmp_path / "o.safetensors", threads=1).translate(np.full(900, 0.1), 16_000)) == 900


def test_two_decoders_in_one_file_hear_the_same_code(tmp_path: Path) -> None:
    states = small_states() | {"decoder2_state": random_decoder(4, **NARROW, seed=7)}
    checkpoint = convert(
        write(tmp_path / "x.pth", states, SETTINGS), tmp_path / "o.safetensors", "--source", "mix", "--target", "a,b"
    )
    assert checkpoint.method == "stem-supervised"
    assert [branch.encoder for branch in checkpoint.branches] == ["encoder", "encoder"]


def test_two_decoders_in_one_file_may_each_hear_their_part_of_the_code(tmp_path: Path) -> None:
    states = small_states(code=3) | {"decoder2_state": random_decoder(4, **{**NARROW, "code": 3}, seed=7)}
    source = write(tmp_path / "x.pth", states, SETTINGS)
    checkpoint = convert(source, tmp_path / "o.safetensors", "--source", "mix", "--target", "a,b")
    codes = random_codes(800)
    code = encode(states["encoder_state"], torch.from_numpy(codes), 2, 3, True)
    assert code.shape == (6, 1)
    for branch, key, part in zip(
        checkpoint.branches, ("decoder_state", "decoder2_state"), (code[:3], code[3:]), strict=True
    ):
        logits = decode(states[key], torch.from_numpy(codes), part, 1, 4).T.numpy()
        agree_on_logits(checkpoint, branch, logits, codes, code.T.numpy().copy())


def test_encoders_from_other_files(tmp_path: Path) -> None:
    decoders = [write(tmp_path / f"{i}.pth", small_states(seed=i, gated=False), SETTINGS) for i in range(2)]
    encoders = []
    for i in range(2):
        alone = {"encoder_state": random_encoder(4, True, **SMALL, seed=20 + i)}
        encoders.append(write(tmp_path / f"star{i}" / "bestmodel_0.pth", alone, settings_of((1, 4), (1, 4))))
    checkpoint = convert(
        *decoders, tmp_path / "o.safetensors", "--source", "mix", "--target", "a,b",
        "--encoders", ",".join(map(str, encoders)),
    )  # fmt: skip
    assert checkpoint.method == "embedding-supervised"
    for i, name in enumerate("ab"):
        expected = torch.load(encoders[i], weights_only=True)["encoder_state"]["dilated_convs.3.extra.bias"]
        assert np.array_equal(checkpoint.weights[f"encoder.{name}"]["layers.3.pointwise.bias"], expected.numpy())
    assert checkpoint.networks["encoder.a"].kind == "music-star"  # type: ignore[union-attr]


def refusal(arguments: list[object], capsys: pytest.CaptureFixture) -> str:
    assert main(["convert", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def in_decoder(tensors: dict[Any, Any], without: str = "") -> dict[str, Any]:
    state: dict[Any, Any] = small_states()["decoder_state"] | tensors
    state.pop(without, None)
    return {"decoder_state": state}


def encoder_without(name: str) -> dict[str, Any]:
    return {"encoder_state": {key: tensor for key, tensor in small_states()["encoder_state"].items() if key != name}}


BIAS = "fc.bias"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (encoder_without("dilated_convs.4.extra.bias"), "tensor dilated_convs.4.extra.bias is missing"),
        (encoder_without("start.weight"), "tensor start.weight is missing"),
        (in_decoder({}, without=BIAS), "tensor fc.bias is missing"),
        (in_decoder({"quant": torch.zeros(1)}), "tensor quant is unknown"),
        (in_decoder({BIAS: torch.zeros(9)}), "tensor fc.bias has shape (9,), others say (8,)"),
        (in_decoder({"first_conv.weight": torch.zeros(9)}), "not that of a convolution"),
        (in_decoder({BIAS: torch.full((8,), torch.nan)}), "fc.bias holds values that are not finite"),
        (in_decoder({BIAS: torch.zeros(8, dtype=torch.int64)}), "fc.bias is torch.int64"),
        (in_decoder({BIAS: torch.zeros(8).to_sparse()}), "torch.sparse"),
        (in_decoder({BIAS: torch.zeros(1).expand(1 << 40)}), "claims more values"),
        (in_decoder({BIAS: 3}), "'fc.bias', which is not a tensor"),
        (in_decoder({5: torch.zeros(1)}), "holds 5, which is not a tensor under a name"),
        (in_decoder({"layers.99999.skip.bias": torch.zeros(8)}), "the decoder has 100000 layers"),
        ({"decoder_state": None}, "holds no decoder_state"),
        ({"encoder_state": None}, "holds no encoder_state"),
        ({"decoder_state": None, "encoder_state": None}, "not a published checkpoint"),
        ({"decoder_state": [1]}, "decoder_state is not a state dictionary"),
        ({"decoder_state": random_decoder(4, 5, 8, 8)}, "6 channels, the decoder expects 5"),
    ],
)
def test_damaged_states(changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    states = {key: state for key, state in (small_states() | changes).items() if state is not None}
    source = write(tmp_path / "x.pth", states, SETTINGS)
    line = refusal([source, tmp_path / "o.safetensors", "--source", "a", "--target", "b"], capsys)
    assert message in line
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_func": "tanh"}, "activation 'tanh'"),
        ({"encoder_pool": "800"}, "pool must be a positive integer, not '800'"),
        ({"encoder_layers": 2}, "6 layers, which are not 2 blocks of 2"),
        ({"layers": "4"}, "4 layers, which are not 1 blocks of 4"),
        ({"blocks": None}, "may be 4 x 1"),
    ],
)
def test_settings_that_do_not_fit(
    settings: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = write(tmp_path / "x.pth", small_states(), SETTINGS | settings)
    assert message in refusal([source, tmp_path / "o.safetensors", "--source", "a", "--target", "b"], capsys)


def test_bad_options(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture) -> None:
    one, two = (write(tmp_path / f"{i}.pth", small_states(seed=i), SETTINGS) for i in range(2))
    out = tmp_path / "o.safetensors"
    for arguments, message in [
        ([one, out], "--source is needed"),
        ([one, out, "--source", "a"], "--target is needed"),
        ([one, out, "--source", "a", "--target", "a,b"], "hold 1 decoders, and --target names 2"),
        ([one, two, out, "--source", "a,b,c", "--target", "a,b"], "--source names 3"),
        ([one, two, out, "--source", "a", "--target", "b,b"], "--target names the same twice"),
        ([one, two, out, "--source", "c,c", "--target", "a,b"], "--source names the same twice"),
        ([one, out, "--source", "a/b", "--target", "b"], "'a/b' is not a name"),
        ([one, out, "--source", "", "--target", "b"], "'' is not a name"),
        ([one, out, "--source", "a", "--target", "b", "--source-level", "nan"], "--source-level must be dBFS"),
        ([one, out, "--source", "a", "--target", "b", "--source-level", "loud"], "numbers of dBFS"),
        ([one, out, "--source", "a", "--target", "b", "--target-level=-1,-2"], "--target-level holds 2"),
        ([one, out, "--source", "a", "--target", "b", "--encoders", f"{one},{two}"], "--encoders holds 2"),
        ([one, out, "--source", "a", "--target", "b", "--encoder-layers", "0"], "must be a positive number"),
        ([one, out, "--source", "a", "--target", "b", "--method", "a b"], "not a method's name"),
        ([one, tmp_path / "none.pth", out, "--source", "a", "--target", "a,b"], "none.pth: cannot be read"),
        ([tmp_path, out, "--source", "a", "--target", "b"], "is a folder"),
        ([tiny_model, out, "--source", "a"], "--source is for published files"),
        ([tiny_model, one, out], "one by one"),
        ([one, tmp_path / "o.pth", "--source", "a", "--target", "b"], "ends in .safetensors"),
    ]:
        assert message in refusal(arguments, capsys)
    assert not out.exists()


def test_the_command_prints_nothing_and_show_tells_where_it_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = write(tmp_path / "x.pth", small_states(), SETTINGS)
    convert(source, tmp_path / "o.safetensors", "--source", "a", "--target", "b")
    assert capsys.readouterr().out == ""
    assert main(["show", str(tmp_path / "o.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"] == {"imported": ["x.pth"]}
