"""The translate command with models of several branches: stems, mixtures, and what it says about both."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from branch_models import ONE_ENCODER_EACH, STEMS, checkpoint_of

from musicstar_ext import checkpoints
from musicstar_ext.runtime import load
from musicstar_ext.runtime.audio_reading import open_audio
from musicstar_ext.runtime.files import translate_file
from musicstar_ext.translate import main

Tone = Callable[..., np.ndarray]
WriteWav = Callable[..., Path]


@pytest.fixture(scope="module")
def by_stems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "by-stems.safetensors"
    checkpoints.save(checkpoint_of(STEMS, "single-instrument"), path)
    return path


@pytest.fixture(scope="module")
def by_mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "by-mixture.safetensors"
    checkpoints.save(checkpoint_of(ONE_ENCODER_EACH), path)
    return path


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


@pytest.mark.parametrize("lanes", [1, 2])
def test_stems_become_one_file(
    by_stems: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture, lanes: int
) -> None:
    strings = write_wav("a.wav", np.stack([tone(1.2, 44_100)] * 2, axis=1), 44_100)
    piano = write_wav("b.wav", tone(0.7, amplitude=0.02))
    target = tmp_path / "out.wav"
    arguments = [str(piano), str(strings), "--stems", "piano, strings", "-o", str(target), "--model", str(by_stems)]
    assert main([*arguments, "--json", "--lanes", str(lanes), "--seed", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["branches"] == [
        {"source": "strings", "target": "clarinet"},
        {"source": "piano", "target": "vibraphone"},
    ]
    report = found["files"][0]
    assert report["input"] == {"piano": str(piano), "strings": str(strings)}
    assert report["seconds"] == pytest.approx(1.2)
    assert report["padded_seconds"] == pytest.approx({"piano": 0.5, "strings": 0})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav", "out.wav"]

    # The twin in Python takes one rate: bring both to 44.1 kHz by hand where the model would from its own.
    translator = load(by_stems, threads=1)
    alone = []
    for name, path in (("strings", strings), ("piano", piano)):
        samples, rate = soundfile.read(path, dtype="float32")
        alone.append(translator.translate_stems({name: samples}, rate, seed=3, lanes=lanes))
    alone[1] = np.pad(alone[1], (0, len(alone[0]) - len(alone[1])))
    np.testing.assert_allclose(read(target), sum(alone), atol=2 / 2**15)


def test_memory_does_not_grow_with_the_files(by_stems: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    translator = load(by_stems, threads=1)
    peaks = []
    for repeats in (9, 20):
        piece = np.tile(tone(1.0), repeats)
        stems = {name: open_audio(write_wav(f"{name}.wav", piece)) for name in ("strings", "piano")}
        tracemalloc.start()
        translate_file(translator, stems, tmp_path / "out.wav", lanes=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000


def test_one_stem_alone(
    by_stems: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, target = write_wav("a.wav", tone(0.3)), tmp_path / "out.flac"
    assert main([str(source), "--stems", "piano", "-o", str(target), "--model", str(by_stems), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["branches"] == [{"source": "piano", "target": "vibraphone"}]
    expected = load(by_stems).translate_stems({"piano": read(source)}, 16_000)
    np.testing.assert_allclose(read(target), expected, atol=2 / 2**15)


def test_the_line_says_what_ended_early(
    by_stems: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    paths = [str(write_wav("a.wav", tone(0.3))), str(write_wav("b.wav", tone(0.2)))]
    assert main([*paths, "--stems", "strings,piano", "-o", str(tmp_path / "o.wav"), "--model", str(by_stems)]) == 0
    assert capsys.readouterr().out.endswith(", piano ends 0.10 s early\n")


def test_plot_shows_every_stem(by_stems: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = [str(write_wav("a.wav", tone(0.3))), str(write_wav("b.wav", tone(0.3)))]
    picture, two = tmp_path / "three.png", tmp_path / "two.png"
    arguments = ["-o", str(tmp_path / "out.wav"), "--model", str(by_stems), "--plot"]
    assert main([*paths, "--stems", "strings,piano", *arguments, str(picture)]) == 0
    assert main([paths[0], "--stems", "strings", *arguments, str(two)]) == 0
    heights = [int.from_bytes(path.read_bytes()[20:24], "big") for path in (two, picture)]
    assert heights[1] == pytest.approx(1.5 * heights[0], abs=2)


def test_a_mixture_through_several_branches(
    by_mixture: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, target = write_wav("in.wav", tone(0.7, 44_100), 44_100), tmp_path / "out.wav"
    assert main([str(source), "-o", str(target), "--model", str(by_mixture), "--json", "--lanes", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [branch["target"] for branch in found["branches"]] == ["clarinet", "vibraphone"]
    assert found["files"][0]["input"] == str(source)
    samples, rate = soundfile.read(source, dtype="float32")
    expected = load(by_mixture).translate(samples, rate, lanes=2)
    np.testing.assert_allclose(read(target), expected, atol=2 / 2**15)


def test_bad_use_of_stems(
    by_stems: Path, by_mixture: Path, tone: Tone, write_wav: WriteWav, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    a, b = str(write_wav("a.wav", tone(0.1))), str(write_wav("b.wav", tone(0.1)))
    (tmp_path / "folder").mkdir()
    out = ["-o", str(tmp_path / "out.wav")]
    stems, mixture = ["--model", str(by_stems)], ["--model", str(by_mixture)]
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in [
        ([a, *out, *stems], "translates stems, each recorded by itself: name what the inputs are with --stems strings"),
        ([a, "--stems", "strings", *out, *mixture], "hears a whole recording of strings-piano, not its stems"),
        ([a, "--stems", "flute", *out, *stems], "hears no stem 'flute'; its stems are strings, piano"),
        ([a, "--stems", "strings,piano", *out, *stems], "2 stems (strings, piano), and there are 1 inputs"),
        ([a, b, "--stems", "strings", *out, *stems], "1 stems (strings), and there are 2 inputs"),
        ([a, b, "--stems", "piano,piano", *out, *stems], "names 'piano' twice in 'piano,piano'"),
        ([a, b, "--stems", "piano,", *out, *stems], "names no stem in 'piano,'"),
        ([a, a, "--stems", "piano,strings", *out, *stems], "is given for two stems"),
        ([str(tmp_path / "folder"), "--stems", "piano", *out, *stems], "is a folder, not an audio file"),
        ([a, "--stems", "piano", "-o", str(tmp_path / "folder"), *stems], "stems become one file"),
        ([a, "--stems", "piano", "-o", f"{tmp_path}/new/", *stems], "stems become one file"),
        ([a, "--stems", "piano", "-o", a, *stems], "the output is also an input"),
        ([a, "--stems", "piano", *out, *stems, "--plot", str(tmp_path / "a.wav")], "must end in .png"),
    ]:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before
