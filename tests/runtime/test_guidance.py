"""Guidance from the checkpoint to the samples: what it decodes, what auto takes, what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from branch_models import SHARED_ENCODER, STEMS, checkpoint_of

from musicstar_ext import Translator, UserError, checkpoints
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.guidance import checked_guidance, choose_guidance
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.decoding import Decoder
from musicstar_ext.runtime.engine import choose_engine
from musicstar_ext.runtime.lanes import LaneRules, choose_lanes
from musicstar_ext.runtime.networks import networks_of
from musicstar_ext.translate import main

Tone = Callable[..., np.ndarray]
WriteWav = Callable[..., Path]

POOL = 160
SILENT = lambda samples: None  # noqa: E731


@pytest.fixture(scope="module")
def guided_checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(tiny_checkpoint, guidance=1.75)


@pytest.fixture(scope="module")
def guided(guided_checkpoint: Checkpoint) -> Translator:
    return Translator(guided_checkpoint, choose_engine("cpu", threads=1))


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Checkpoint) -> Translator:
    return Translator(tiny_checkpoint, choose_engine("cpu", threads=1))


@pytest.fixture
def guided_model(guided_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / "guided.safetensors"
    checkpoints.save(guided_checkpoint, path)
    return path


def frames_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def test_sequential_decoding_is_the_guided_sampler(tiny_checkpoint: Checkpoint) -> None:
    engine = choose_engine("cpu", "fp32", threads=1)
    network = networks_of(tiny_checkpoint, engine).decoders["decoder"]
    frames = frames_of(3)
    sampler = core.ReferenceSampler(dataclasses.asdict(network.config), network.weights, guided=True)
    codes = sampler.sample(frames, core.philox_uniforms(5, 0, 0, 3 * POOL), 1.0, 2.0)
    decoder = Decoder(network, 5, 1.0, SILENT, guidance=2.0)
    found = np.concatenate(list(decoder.sequential([frames])))
    assert np.array_equal(found, core.mu_law_decode(codes))
    rules = LaneRules(lanes=2, longest=4, shortest=3, warm_up=0, fade=0, pool=POOL)
    assert np.array_equal(np.concatenate(list(decoder.in_lanes([frames], rules))), found)


@pytest.mark.parametrize("lanes", [1, 3])
def test_guidance_1_is_plain_decoding_and_auto_the_models_own(
    guided: Translator, plain: Translator, tone: Tone, lanes: int
) -> None:
    samples = tone(1.6)
    before = plain.translate(samples, 16_000, lanes=lanes)
    assert np.array_equal(plain.translate(samples, 16_000, lanes=lanes, guidance=1), before)
    assert np.array_equal(guided.translate(samples, 16_000, lanes=lanes, guidance=1.0), before)
    own = guided.translate(samples, 16_000, lanes=lanes)
    assert not np.array_equal(own, before)
    assert np.array_equal(guided.translate(samples, 16_000, lanes=lanes, guidance=1.75), own)
    assert not np.array_equal(guided.translate(samples, 16_000, lanes=lanes, guidance=3), own)


def test_guidance_0_does_not_hear_the_recording(guided: Translator, tone: Tone) -> None:
    outputs = [
        guided.translate(samples, 16_000, guidance=0, lanes=1, normalize="off")
        for samples in (tone(0.3), -tone(0.3)[::-1])
    ]
    assert np.array_equal(*outputs)


def test_a_stream_is_guided_alike(guided: Translator, tone: Tone) -> None:
    samples = tone(0.7)
    for options in ({}, {"guidance": 2.5}):
        whole = guided.translate(samples, 16_000, lanes=1, normalize="off", **options)
        pieces = list(guided.stream(np.split(samples, [1, 799, 5000]), 16_000, **options))
        assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_guided_sample(
    guided: Translator, guided_checkpoint: Checkpoint, tone: Tone, threads: int
) -> None:
    other = Translator(guided_checkpoint, choose_engine("cpu", threads=threads))
    samples = tone(2.1)
    for lanes in (1, 3):
        expected = guided.translate(samples, 16_000, lanes=lanes)
        assert np.array_equal(other.translate(samples, 16_000, lanes=lanes), expected)


@pytest.mark.parametrize("branches", [SHARED_ENCODER, STEMS])
def test_every_branch_is_guided(tone: Tone, branches: tuple) -> None:
    """Without its code each decoder plays what it would play to anything."""
    checkpoint = dataclasses.replace(checkpoint_of(branches), guidance=2.0)
    translator = Translator(checkpoint, choose_engine("cpu", threads=1))
    options = {"guidance": 0, "lanes": 1, "normalize": "off"}
    outputs = []
    for samples in (tone(0.3), -tone(0.3)[::-1]):
        if translator.stems:
            outputs.append(translator.translate_stems(dict.fromkeys(translator.stems, samples), 16_000, **options))
        else:
            outputs.append(translator.translate(samples, 16_000, **options))
    assert np.array_equal(*outputs)


def test_progress_adds_up(guided: Translator, tone: Tone) -> None:
    told: list[float] = []
    guided.translate(tone(1.6), 16_000, lanes=2, progress=told.append)
    assert sum(told) == pytest.approx(1.6, rel=1e-3)


def test_auto_lanes_of_guided_decoding_are_half_as_many() -> None:
    assert choose_lanes("auto", 3600.0, threads=2, guided=True) == 8
    assert choose_lanes("auto", 5.9, threads=8, guided=True) == 5
    assert choose_lanes("auto", None, threads=8, guided=True) == 1
    assert choose_lanes("auto", 3600.0, threads=1, gpu=True, guided=True) == 512
    assert choose_lanes(3, 0.3, threads=1, guided=True) == 3


@pytest.mark.parametrize(
    "guidance", [-0.5, 10.5, float("nan"), float("inf"), True, "much", None, "1", 10**400, np.array([1.0, 2.0])]
)
def test_hostile_guidance(guided: Translator, guidance: object) -> None:
    with pytest.raises(UserError, match="guidance must be a number from 0 to 10"):
        checked_guidance(guidance)  # type: ignore[arg-type]
    for call in (guided.translate, guided.stream):
        with pytest.raises(UserError, match="guidance must be a number from 0 to 10"):
            call(np.zeros(100), 16_000, guidance=guidance)  # type: ignore[operator]


def test_a_model_that_never_played_without_a_code_takes_1_only(plain: Translator) -> None:
    assert choose_guidance("auto", None) == choose_guidance(1, None) == 1.0
    assert choose_guidance("auto", 1.5) == 1.5
    for guidance in (0, 1.5):
        with pytest.raises(UserError, match=r"never learnt to play without a code .*guidance must be auto or 1"):
            plain.translate(np.zeros(100), 16_000, guidance=guidance)
        with pytest.raises(UserError, match="never learnt to play without a code"):
            plain.stream([], 16_000, guidance=guidance)


def test_checkpoints_keep_it(guided_checkpoint: Checkpoint, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for checkpoint in (guided_checkpoint, tiny_checkpoint):
        checkpoints.save(checkpoint, path)
        assert checkpoints.load(path).guidance == checkpoint.guidance
        assert (b'"guidance"' in path.read_bytes()) == (checkpoint.guidance is not None)
    with pytest.raises(UserError, match="guidance must be a number"):
        checkpoints.save(dataclasses.replace(tiny_checkpoint, guidance=11.0), path)
    assert checkpoints.load(path).guidance is None


@pytest.mark.parametrize("wrong", ["11.0", "nans", "-2.5"])
def test_a_damaged_header_is_one_line(guided_model: Path, wrong: str) -> None:
    guided_model.write_bytes(guided_model.read_bytes().replace(b'"guidance":"1.75"', f'"guidance":"{wrong}"'.encode()))
    with pytest.raises(UserError, match=r"guided\.safetensors: "):
        checkpoints.load(guided_model)


def test_convert_sets_it(guided_model: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "b.safetensors"
    assert checkpoints.main(["convert", str(guided_model), str(output), "--guidance", "2.25"]) == 0
    assert checkpoints.load(output).guidance == 2.25
    assert checkpoints.main(["show", str(output)]) == 0
    assert "guidance: 2.25\n" in capsys.readouterr().out
    assert checkpoints.main(["convert", str(guided_model), str(output)]) == 0
    assert checkpoints.load(output).guidance == 1.75
    output.unlink()
    for model, value, message in (
        (tiny_model, "2", f"{tiny_model}: this model's decoders never learnt to play without a code"),
        (guided_model, "10.5", "guidance must be a number from 0 to 10, not 10.5"),
        (guided_model, "nan", "guidance must be a number from 0 to 10, not nan"),
        (guided_model, "auto", "--guidance"),
    ):
        assert checkpoints.main(["convert", str(model), str(output), "--guidance", value]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not output.exists()


def test_the_command(
    guided_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, target = write_wav("in.wav", tone(0.3)), tmp_path / "out.wav"
    arguments = [str(source), "-o", str(target), "--model", str(guided_model), "--lanes", "1"]
    outputs = {}
    for told in ([], ["--guidance", "auto"], ["--guidance", "1.75"], ["--guidance", "1"]):
        assert main([*arguments, *told, "--json"]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert summary["guidance"] == summary["files"][0]["guidance"] == (1.0 if "1" in told else 1.75)
        outputs[tuple(told)] = target.read_bytes()
    by_itself, auto, number, one = outputs.values()
    assert by_itself == auto == number != one
    assert main([*arguments, "--guidance", "2"]) == 0
    assert ", guidance 2" in capsys.readouterr().out
    assert main([*arguments, "--guidance", "1"]) == 0
    assert "guidance" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2", "tiny.safetensors: this model's decoders never learnt"),
        ("11", "guidance must be a number from 0 to 10, not 11.0"),
        ("nan", "guidance must be a number"),
        ("x", "must be auto or a number, not 'x'"),
    ],
)
def test_the_command_refuses_in_one_line(
    tiny_model: Path,
    tone: Tone,
    write_wav: WriteWav,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    value: str,
    message: str,
) -> None:
    target = tmp_path / "out.wav"
    arguments = [str(write_wav("in.wav", tone(0.1))), "-o", str(target), "--model", str(tiny_model)]
    assert main([*arguments, "--guidance", value]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not target.exists()
