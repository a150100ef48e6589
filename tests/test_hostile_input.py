"""Bad input and bad arguments: exit status 2, exactly one line on stderr that names the culprit, nothing written."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicstar_ext import checkpoints
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.translate import main

Tone = Callable[..., np.ndarray]
WriteWav = Callable[..., Path]

NOISE = 0.1 * np.random.default_rng(0).standard_normal(16_000)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def refuse(arguments: list[object], folder: Path, capsys: pytest.CaptureFixture) -> str:
    """Run the command, assert that it refuses as it should, and return its line."""
    before = tree(folder)
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("musicstar_ext.translate: error: ")
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    assert tree(folder) == before
    return captured.err


def half_of(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def with_nan(path: Path) -> None:
    samples = NOISE.copy()
    samples[777] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def with_infinity(path: Path) -> None:
    samples = np.stack([NOISE, NOISE], axis=1)
    samples[777, 1] = -np.inf
    soundfile.write(path, samples, 16_000, subtype="DOUBLE")


def truncated(path: Path) -> None:
    soundfile.write(path, NOISE, 16_000)
    half_of(path)


BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("in.wav", lambda path: None, "no such file"),
    "folder without audio": ("folder", lambda path: path.mkdir(), "no audio files"),
    "pattern without match": ("*.mp3", lambda path: None, "no file matches"),
    "line break": ("in\n.wav", lambda path: None, "no such file"),
    "empty": ("in.wav", lambda path: path.write_bytes(b""), "is empty"),
    "text": ("in.wav", lambda path: path.write_text("Not a recording.\n" * 99), "not an audio file"),
    "raw": ("in.raw", lambda path: path.write_bytes(bytes(1000)), "not an audio file"),
    "only a magic number": ("in.wav", lambda path: path.write_bytes(b"RIFF"), "not an audio file"),
    "no samples": ("in.wav", lambda path: soundfile.write(path, NOISE[:0], 16_000), "holds no samples"),
    "too short": ("in.wav", lambda path: soundfile.write(path, NOISE[:1], 96_000), "shorter than one sample"),
    "odd rate": ("in.wav", lambda path: soundfile.write(path, NOISE, 10), "sample rate must be"),
    "truncated wav": ("in.wav", truncated, "truncated"),
    "truncated aiff": ("in.aiff", truncated, "truncated"),
    "truncated au": ("in.au", truncated, "truncated"),
    "truncated w64": ("in.w64", truncated, "truncated"),
    "truncated flac": ("in.flac", truncated, "damaged or truncated"),
    "nan": ("in.wav", with_nan, "sample 777 is not finite"),
    "infinity": ("in.wav", with_infinity, "sample 777 is not finite"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(case: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    name, make, message = BAD_FILES[case]
    path = tmp_path / name
    make(path)
    line = refuse([path, "-o", tmp_path / "out.wav", "--model", tiny_model], tmp_path, capsys)
    assert message in line
    assert " ".join(str(path).splitlines()) in line


@pytest.mark.parametrize("case", ["missing", "text", "truncated wav"])
def test_all_inputs_are_checked_before_the_first_is_translated(
    case: str, tiny_model: Path, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    name, make, message = BAD_FILES[case]
    make(tmp_path / name)
    good = write_wav("good.wav", NOISE)
    assert message in refuse([good, tmp_path / name, "-o", tmp_path / "out", "--model", tiny_model], tmp_path, capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "no-such-model"], "unknown model 'no-such-model'"),
        (["--model", "none.safetensors"], "none.safetensors: cannot be read"),
        (["--device", "cuda"], "device cuda: "),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--precision", "fp64"], "unknown precision 'fp64'"),
        (["--precision", "BF16"], "unknown precision 'BF16'"),
        (["--temperature", "-1"], "temperature must be"),
        (["--temperature", "nan"], "temperature must be"),
        (["--temperature", "warm"], "--temperature"),
        (["--seed", "-1"], "seed must be"),
        (["--seed", "1.5"], "--seed"),
        (["--lanes", "0"], "lanes must be"),
        (["--lanes", "many"], "--lanes: must be auto or a whole number"),
        (["--threads", "-1"], "threads must be"),
        (["--normalize", "loud"], "--normalize"),
        (["--what"], "unrecognized arguments: --what"),
        (["--plot", "picture.jpg"], "must end in .png"),
        (["--plot", "nowhere/picture.png"], "nowhere/picture.png: cannot be written"),
    ],
)
def test_bad_options(
    options: list[str],
    message: str,
    tiny_model: Path,
    write_wav: WriteWav,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    arguments = [write_wav("in.wav", NOISE), "-o", tmp_path / "out.wav", "--model", tiny_model, *options]
    assert message in refuse(arguments, tmp_path, capsys)


def test_no_arguments(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "required: IN, -o/--output" in refuse([], tmp_path, capsys)


def test_bad_outputs(tiny_model: Path, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one, other = write_wav("in.wav", NOISE), write_wav("in.flac", NOISE)
    (tmp_path / "out.wav").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "results" / "in.wav").mkdir(parents=True)
    for inputs, output, message in [
        ([one], tmp_path / "out.wav", "out.wav: the output is a folder"),
        ([one], tmp_path / "file" / "out.wav", "cannot be written: Not a directory"),
        ([one], tmp_path / "nowhere" / "out.wav", "cannot be written: No such file or directory"),
        ([one], tmp_path / "out.mp4", "must end in .wav, .flac, .ogg"),
        ([one], one, "in.wav: the output is also an input"),
        ([one, other], tmp_path / "out", f"would be the output of both {one} and {other}"),
        ([one, one], tmp_path / "out", "would be the output of both"),
        ([one, other], tmp_path / "file", "must be a folder"),
        ([tmp_path / "*.flac"], tmp_path / "file" / "deep", "is a file"),
        ([tmp_path / "*.flac"], tmp_path / "results", "results/in.wav: the output is a folder"),
        ([tmp_path], tmp_path, "the output is also an input"),
    ]:
        assert message in refuse([*inputs, "-o", output, "--model", tiny_model], tmp_path, capsys)


def test_plot_of_several(tiny_model: Path, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    inputs = [write_wav("a.wav", NOISE), write_wav("b.wav", NOISE)]
    arguments = [*inputs, "-o", tmp_path / "out", "--model", tiny_model, "--plot", tmp_path / "p.png"]
    assert "--plot draws one recording, and there are 2" in refuse(arguments, tmp_path, capsys)


def test_unknown_instruction_set(
    tiny_model: Path,
    write_wav: WriteWav,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUSICSTAR_ISA", "mmx")
    arguments = [write_wav("in.wav", NOISE), "-o", tmp_path / "out.wav", "--model", tiny_model]
    assert "mmx" in refuse(arguments, tmp_path, capsys)


def rewrite_header(path: Path, key: str, value: str) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"][key] = value
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


BAD_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (half_of, "not a whole safetensors file"),
    "truncated in the header": (lambda path: path.write_bytes(path.read_bytes()[:50]), "truncated"),
    "empty": (lambda path: path.write_bytes(b""), "not a safetensors file"),
    "text": (lambda path: path.write_text("not a model " * 50), "not a safetensors file"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    "of another program": (lambda path: rewrite_header(path, "format", "pt"), "not a checkpoint of musicstar_ext"),
    "format version": (lambda path: rewrite_header(path, "format_version", "99"), "checkpoint format 99"),
    "no networks": (lambda path: rewrite_header(path, "networks", "{}"), "needs the encoder"),
    "damaged networks": (lambda path: rewrite_header(path, "networks", "[1"), "header is damaged"),
    "unknown network": (lambda path: rewrite_header(path, "networks", '{"a": {"type": "gan"}}'), "unknown type"),
    "no branches": (lambda path: rewrite_header(path, "branches", "[]"), "translates nothing: no branches"),
    "damaged branches": (lambda path: rewrite_header(path, "branches", '{"source": "a"}'), "header is damaged"),
    "half a branch": (lambda path: rewrite_header(path, "branches", '[{"source": "a"}]'), "header is damaged"),
    "a branch of numbers": (lambda path: rewrite_header(path, "branches", "[1]"), "header is damaged"),
    "a branch of an unknown encoder": (
        lambda path: rewrite_header(
            path, "branches", '[{"source": "a", "target": "b", "encoder": "ears", "decoder": "decoder"}]'
        ),
        "needs the encoder 'ears', which is not there",
    ),
    "no domains": (lambda path: rewrite_header(path, "domains", "{}"), "which domain it hears"),
    "a branch that hears a stem": (
        lambda path: rewrite_header(path, "domains", '{"source": "a", "target": "b"}'),
        "translates stems, each recorded by itself: name what the inputs are with --stems strings-piano",
    ),
    "damaged step": (lambda path: rewrite_header(path, "step", "many"), "header is damaged"),
    "rate": (lambda path: rewrite_header(path, "sample_rate", "8000"), "8000 Hz"),
    "levels": (
        lambda path: rewrite_header(path, "levels", '{"strings-piano": NaN, "clarinet-vibraphone": -20}'),
        "source level",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models(
    case: str, tiny_checkpoint: Checkpoint, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    damage, message = BAD_MODELS[case]
    model = tmp_path / "model.safetensors"
    checkpoints.save(tiny_checkpoint, model)
    damage(model)
    arguments = [write_wav("in.wav", NOISE), "-o", tmp_path / "out.wav", "--model", model]
    line = refuse(arguments, tmp_path, capsys)
    assert message in line
    assert str(model) in line


def test_a_header_that_promises_millions_of_layers_is_refused_quickly(
    tiny_checkpoint: Checkpoint, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = tmp_path / "model.safetensors"
    checkpoints.save(tiny_checkpoint, model)
    networks = {name: config.to_json() for name, config in tiny_checkpoint.networks.items()}
    networks["encoder"]["blocks"] = 1 << 20
    rewrite_header(model, "networks", json.dumps(networks))
    arguments = [write_wav("in.wav", NOISE), "-o", tmp_path / "out.wav", "--model", model]
    assert "layers" in refuse(arguments, tmp_path, capsys)


def test_a_full_disk(tiny_model: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    source = write_wav("in.wav", tone(10.0))
    done = subprocess.run(
        [sys.executable, "-m", "musicstar_ext.translate", source, "-o", tmp_path / "out.wav", "--model", tiny_model],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"musicstar_ext.translate: error: {tmp_path / 'out.wav'}: cannot be written: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_a_wav_that_was_written_into_a_pipe_is_not_truncated(
    tiny_model: Path, write_wav: WriteWav, tmp_path: Path
) -> None:
    source = write_wav("in.wav", NOISE)
    data = bytearray(source.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"  # what programs write before they know the length
    source.write_bytes(bytes(data))
    assert main([str(source), "-o", str(tmp_path / "out.wav"), "--model", str(tiny_model)]) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == len(NOISE)
