"""`evaluate table` and `evaluate report` over toy recordings: what is measured, kept, written and refused."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicstar_ext import checkpoints
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.data.prepared_writer import write_description, write_piece
from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.published import TABLE_1, VOTES
from musicstar_ext.evaluation.table import BASELINES

pytest.importorskip("essentia", reason="content needs essentia (extra melodia)")
pytest.importorskip("mir_eval")

RATE = 16_000
SECONDS = 1.5


def tune(first: int, overtone: int, seconds: float = SECONDS) -> np.ndarray:
    """Three notes, from a MIDI pitch upwards; the overtone stands for the instrument."""
    pitches = np.repeat([first, first + 4, first + 7], int(seconds * RATE / 3))
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((pitches - 69) / 12)) / RATE
    return (0.3 * np.sin(phase) + 0.15 * np.sin(overtone * phase)).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pieces named as StarNet's, mixtures only."""
    folder = tmp_path_factory.mktemp("clips")
    for number, pitch in enumerate((60, 65), start=1):
        soundfile.write(folder / f"00{number}.3.wav", tune(pitch, 3), RATE)
        soundfile.write(folder / f"00{number}.0.wav", tune(pitch, 2), RATE)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One test piece of two domains, with its notes."""
    folder = tmp_path_factory.mktemp("set")
    stems = {name: (tune(60, k) * 16_000).astype(np.int16) for k, name in enumerate(("a", "b", "c", "d"), start=2)}
    tracks = {**stems, "one": stems["a"] + stems["b"], "two": stems["c"] + stems["d"]}
    notes = [[0.0, 0.5, 60, 80], [0.5, 0.5, 64, 80], [1.0, 0.5, 67, 80]]
    entries = {
        "piece": write_piece(folder, "piece", tracks, RATE, {"split": "test"}, notes=dict.fromkeys(stems, notes))
    }
    write_description(folder, RATE, {"one": ["a", "b"], "two": ["c", "d"]}, entries, {"command": "tests"})
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def means(folder: Path, system: str, direction: str = "both") -> dict[str, float]:
    table = json.loads((folder / "table.json").read_text())
    return {name: interval["mean"] for name, interval in table["systems"][system]["means"][direction].items()}


def test_copies_of_source_and_gold_measure_as_the_baselines(clips: Path, tmp_path: Path) -> None:
    for name, codes in (("perfect", "03"), ("lazy", "30")):
        (tmp_path / name).mkdir()
        for piece in ("001", "002"):
            for code, other in zip(codes, "03", strict=True):
                data, _ = soundfile.read(clips / f"{piece}.{code}.wav")
                soundfile.write(tmp_path / name / f"{piece}.{other}.wav", data, RATE)
    out = tmp_path / "out"
    systems = [f"--system={name}={tmp_path / name}" for name in ("perfect", "lazy")]
    assert run("table", clips, *systems, "-o", out, "--jobs", 1) == 0
    assert means(out, "perfect") == means(out, "gold")
    assert means(out, "lazy") == means(out, "source")
    assert means(out, "perfect")["content"] == 1.0
    assert means(out, "lazy")["content"] < 1.0 or means(out, "lazy")["log_spectral_distance"] > 1.0
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (2 + len(BASELINES)) * 2 * 2  # systems and baselines, directions, pieces
    markdown = (out / "table.md").read_text()
    assert "perfect" in markdown
    assert "0.426" in markdown  # StarNet's names: the paper's figures stand beside
    assert (out / "table.png").stat().st_size > 1000


def test_several_processes_measure_the_same(clips: Path, tmp_path: Path) -> None:
    for jobs in (1, 2):
        assert run("table", clips, "-o", tmp_path / str(jobs), "--jobs", jobs) == 0
    assert (tmp_path / "1/table.csv").read_text() == (tmp_path / "2/table.csv").read_text()


def test_checkpoints_translate_once(
    tiny_checkpoint: Checkpoint, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A direction without a checkpoint is left out; outputs are kept as long as they are from the same checkpoint."""
    model, out = tmp_path / "tiny.safetensors", tmp_path / "out"
    checkpoints.save(tiny_checkpoint, model)
    arguments = ("table", clips, f"--system=tiny={model}", "-o", out, "--jobs", 1, "--json")
    assert run(*arguments) == 0
    table = json.loads(capsys.readouterr().out)
    assert {row["direction"] for row in table["systems"]["tiny"]["pieces"]} == {"strings-piano_to_clarinet-vibraphone"}
    made = sorted((out / "outputs/tiny").glob("*.wav"))
    assert [path.name for path in made] == ["001.0.wav", "002.0.wav"]
    stamps = [path.stat().st_mtime_ns for path in made]
    assert run(*arguments) == 0
    assert [path.stat().st_mtime_ns for path in made] == stamps
    assert run(*arguments, "--guidance", 1) == 0  # plain already
    assert [path.stat().st_mtime_ns for path in made] == stamps
    assert run(*arguments, "--seed", 1) == 0
    assert all(path.stat().st_mtime_ns > stamp for path, stamp in zip(made, stamps, strict=True))


def test_another_guidance_makes_other_outputs(
    tiny_checkpoint: Checkpoint, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model, out = tmp_path / "tiny.safetensors", tmp_path / "out"
    checkpoints.save(dataclasses.replace(tiny_checkpoint, guidance=1.5), model)
    arguments = ("table", clips, "--pieces", "001", f"--system=tiny={model}", "-o", out, "--jobs", 1, "--json")
    outputs = []
    for guidance in ("auto", 1.5, 1, 3):
        assert run(*arguments, "--guidance", guidance) == 0
        assert json.loads(capsys.readouterr().out)["made_by"]["guidance"] == guidance
        outputs.append((out / "outputs/tiny/001.0.wav").read_bytes())
    assert outputs[0] == outputs[1]
    assert len(set(outputs)) == 3


def test_a_prepared_set_with_notes(prepared: Path, tmp_path: Path) -> None:
    assert run("table", prepared, "-o", tmp_path, "--jobs", 1) == 0
    assert means(tmp_path, "gold")["content"] == 1.0
    assert 0 < means(tmp_path, "gold")["true_pitch_accuracy"] <= 1


def test_the_report_is_one_page_with_everything_in_it(clips: Path, tmp_path: Path) -> None:
    assert run("report", clips, "--pieces", "001", "-o", tmp_path, "--jobs", 1, "--seconds", 1) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<audio") == page.count("<img") == 2 * 2  # directions x (source, true recording)
    assert "{{" not in page
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is loaded from elsewhere


BAD = {
    "no such folder": (lambda clips, tmp: [tmp / "none"], "no such folder"),
    "not a material": (lambda clips, tmp: [tmp], "neither a prepared set nor a folder of clips"),
    "a piece that is not there": (lambda clips, tmp: [clips, "--pieces", "009"], "no piece '009'"),
    "no name": (lambda clips, tmp: [clips, "--system", "folder"], "takes NAME=FOLDER"),
    "an unknown model": (lambda clips, tmp: [clips, "--system", "a=nothing-here"], "nothing-here"),
    "an empty folder": (lambda clips, tmp: [clips, f"--system=a={tmp}"], "expected names such as 001.0.wav"),
    "a name twice": (lambda clips, tmp: [clips, f"--system=a={clips}", f"--system=a={clips}"], "are called 'a'"),
    "a baseline's name": (lambda clips, tmp: [clips, f"--system=gold={clips}"], "are called 'gold'"),
    "no jobs": (lambda clips, tmp: [clips, "--jobs", "0"], "--jobs must be at least 1"),
    "no such guidance": (lambda clips, tmp: [clips, "--guidance", "-1"], "guidance must be a number from 0 to 10"),
    "no lanes": (lambda clips, tmp: [clips, "--lanes", "0"], "lanes"),
    "no style network": (lambda clips, tmp: [clips, "--style-model", tmp / "none.safetensors"], "none.safetensors"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments, message = BAD[case]
    assert run("table", *arguments(clips, tmp_path), "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


def test_an_output_that_is_missing_or_of_another_length_is_named(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    soundfile.write(folder / "001.0.wav", tune(60, 2), RATE)
    assert run("table", clips, f"--system=a={folder}", "-o", tmp_path / "out", "--jobs", 1) == 2
    assert "002.0.wav: missing" in capsys.readouterr().err
    soundfile.write(folder / "002.0.wav", tune(65, 2, seconds=0.6), RATE)
    assert run("table", clips, f"--system=a={folder}", "-o", tmp_path / "out", "--jobs", 1) == 2
    assert "002.0.wav" in capsys.readouterr().err


def test_the_papers_points_are_whole_votes() -> None:
    for column in range(3):
        assert sum(row[column] for row in TABLE_1.values()) == pytest.approx(15 * VOTES, abs=5)
