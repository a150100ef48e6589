"""`evaluate pair`: what it measures, what it prints, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.pair import MEASURES, measure_pair

pytest.importorskip("essentia", reason="content needs essentia (extra melodia)")
pytest.importorskip("mir_eval")

RATE = 16_000
PITCHES = [60, 64, 67, 72]


@pytest.fixture
def files(melody: Callable[..., np.ndarray], tmp_path: Path) -> dict[str, Path]:
    recordings = {
        "gold": melody(PITCHES, overtone=2),
        "output": melody([60, 64, 67, 70], overtone=2),
        "source": melody(PITCHES, overtone=3),
    }
    paths = {name: tmp_path / f"{name}.wav" for name in recordings}
    for name, samples in recordings.items():
        soundfile.write(paths[name], samples, RATE)
    notes = [[0.5 * number, 0.5, pitch, 80] for number, pitch in enumerate(PITCHES)]
    paths["notes"] = tmp_path / "notes.json"
    paths["notes"].write_text(json.dumps({"flute": notes, "harp": [*notes, [0.0, 2.0, 40, 80]]}))
    return paths


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["pair", *map(str, arguments)])
    out, error = capsys.readouterr()
    return status, out, error


def test_all_measures_of_all_candidates(files: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    arguments = (files["output"], files["gold"], "--source", files["source"], "--notes", files["notes"])
    status, out, error = run(capsys, *arguments, "--stems", "flute", "--json")
    assert (status, error) == (0, "")
    report = json.loads(out)
    assert report["seconds"] == 2.0
    values = report["values"]
    assert list(values) == ["output", "source", "mu-law", "gold"]
    assert all(set(measures) == set(MEASURES) - {"style"} for measures in values.values())
    gold = values["gold"]
    assert gold["content"] == gold["pitch_accuracy"] == gold["note_f"] == 1.0
    assert gold["log_spectral_distance"] == 0.0
    assert gold["true_pitch_accuracy"] > 0.8
    assert gold["true_note_f"] > 0.7
    # The output has one of four notes wrong, the source none; mu-law changes the sound a little only.
    assert 0.6 < values["output"]["content"] < 0.9 < values["source"]["content"]
    assert values["output"]["true_pitch_accuracy"] < gold["true_pitch_accuracy"]
    assert values["mu-law"]["content"] > 0.9
    assert values["mu-law"]["log_spectral_distance"] > 0


def test_notes_of_all_stems_count_unless_some_are_chosen(files: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    values = {}
    for stems in ((), ("--stems", "flute")):
        _, out, _ = run(capsys, files["gold"], files["gold"], "--notes", files["notes"], *stems, "--json")
        values[stems] = json.loads(out)["values"]["gold"]["true_pitch_recall"]
    assert values[()] < values[("--stems", "flute")]


def test_the_table_has_a_row_a_measure_and_says_what_is_missing(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
):
    status, out, _ = run(capsys, files["output"], files["gold"])
    lines = out.splitlines()
    assert status == 0
    assert "2.00 s compared" in lines[0]
    assert "source copied" not in lines[0]
    assert sum(line.startswith("content") for line in lines) == 1
    assert "train-style" in lines[-1]


def test_another_rate_and_channels_hardly_matter(
    files: dict[str, Path], melody: Callable[..., np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    samples, _ = soundfile.read(files["gold"])
    import soxr

    stereo = np.repeat(soxr.resample(samples, RATE, 44_100)[:, None], 2, axis=1)
    soundfile.write(tmp_path / "stereo.flac", stereo, 44_100)
    _, out, error = run(capsys, tmp_path / "stereo.flac", files["gold"], "--json")
    assert error == ""
    assert json.loads(out)["values"]["output"]["content"] > 0.95


def test_lengths_that_differ_a_little_are_told(
    files: dict[str, Path], melody: Callable[..., np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    soundfile.write(tmp_path / "longer.wav", np.pad(melody(PITCHES), (0, 2500)), RATE)
    status, out, error = run(capsys, tmp_path / "longer.wav", files["gold"], "--json")
    assert status == 0
    assert error.count("\n") == 1
    assert "2.16 s" in error
    assert json.loads(out)["warnings"]
    assert json.loads(out)["seconds"] == 2.0


def test_silence_is_measured_and_told(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    soundfile.write(tmp_path / "silence.wav", np.zeros(2 * RATE), RATE)
    status, out, error = run(capsys, tmp_path / "silence.wav", files["gold"], "--json")
    assert (status, error) == (0, "musicstar_ext.evaluate: the output is silent\n")
    assert json.loads(out)["values"]["output"]["content"] < 0.2


def make_bad(folder: Path) -> None:
    soundfile.write(folder / "silence.wav", np.zeros(2 * RATE), RATE)
    soundfile.write(folder / "long.wav", np.zeros(3 * RATE), RATE)
    soundfile.write(folder / "short.wav", np.zeros(100), RATE)
    soundfile.write(folder / "nan.wav", np.full(2 * RATE, np.nan), RATE, subtype="FLOAT")
    (folder / "text.wav").write_text("no audio")
    (folder / "empty.wav").write_bytes(b"")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere.wav", "gold.wav"], "nowhere.wav: no such file"),
        (["output.wav", "nowhere.wav"], "nowhere.wav: no such file"),
        (["output.wav", "silence.wav"], "the true recording is silent"),
        (["long.wav", "gold.wav"], "not the same music"),
        (["output.wav", "gold.wav", "--source", "long.wav"], "the source lasts 3.00 s"),
        (["short.wav", "gold.wav"], "short.wav: 0.006 s are too short"),
        (["nan.wav", "gold.wav"], "nan.wav: sample 0 is not finite"),
        (["text.wav", "gold.wav"], "text.wav: not an audio file"),
        (["empty.wav", "gold.wav"], "empty.wav: is empty"),
        ([".", "gold.wav"], "is a folder"),
        (["output.wav", "gold.wav", "--notes", "nowhere.json"], "nowhere.json: no such file"),
        (["output.wav", "gold.wav", "--notes", "gold.wav"], "gold.wav: not JSON"),
        (["output.wav", "gold.wav", "--notes", "notes.json", "--stems", "oboe"], "notes.json: no notes of 'oboe'"),
        (["output.wav", "gold.wav", "--stems", "flute"], "--stems needs --notes"),
        (["output.wav", "gold.wav", "--cache", "gold.wav"], "gold.wav: cannot be the cache"),
        (["output.wav", "gold.wav", "--style-model", "nowhere.safetensors"], "nowhere.safetensors: cannot be read"),
        (["output.wav", "gold.wav", "--style-model", "gold.wav"], "gold.wav: not a"),
        (["output.wav"], "GOLD"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    problem: str,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    make_bad(tmp_path)
    monkeypatch.chdir(tmp_path)
    status, out, error = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert problem in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("library", "extra"), [("torch", "train"), ("librosa", "eval")])
def test_style_without_its_libraries_is_one_line(
    library: str,
    extra: str,
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, library, None)
    status, _, error = run(capsys, files["output"], files["gold"], "--style-model", "style.safetensors")
    assert status == 2
    assert f"this needs {library}: pip install 'musicstar-ext[{extra}]'" in error


def test_style_is_asked_of_each_candidate(melody: Callable[..., np.ndarray]):
    class Loudness:
        def cosine(self, output: np.ndarray, gold: np.ndarray, cache: object = None) -> float:
            return float(np.abs(output).max() / np.abs(gold).max())

    gold = melody(PITCHES)
    report = measure_pair(gold / 2, gold, source=gold / 4, style=Loudness())
    assert [report.values[name]["style"] for name in ("output", "source", "gold")] == pytest.approx([0.5, 0.25, 1])
    assert report.missing == {}


def test_what_is_not_installed_is_told_and_the_rest_measured(
    melody: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "mir_eval", None)
    gold = melody(PITCHES)
    report = measure_pair(gold, gold)
    assert list(report.missing) == ["pitches and notes"]
    assert "musicstar-ext[eval]" in report.missing["pitches and notes"]
    assert report.values["output"] == {"content": 1.0, "log_spectral_distance": 0.0}
