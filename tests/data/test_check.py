"""A sound set is sound; each fault that is planted in it is found, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.conftest import edit_description
from data.recordings import melody

from musicstar_ext.data.__main__ import main
from musicstar_ext.data.alignment import FRAMES_PER_SECOND, correlation, onsets
from musicstar_ext.data.prepared_writer import write_description, write_piece

RATE = 16_000
SECONDS = 5.5
DOMAINS = {"lute-viol": ["lute", "viol"], "oboe-harp": ["oboe", "harp"]}
OVERTONES = {"lute": 2, "viol": 3, "oboe": 4, "harp": 5}
SPLITS = {"one": "train", "two": "validation", "three": "test"}

Tracks = dict[str, np.ndarray]


def tracks_of(number: int, note: float = 0.25) -> Tracks:
    """A sound piece, 16-bit, of notes of so many seconds."""
    position = {stem: index for stems in DOMAINS.values() for index, stem in enumerate(stems)}
    tracks = {
        stem: melody(7 * number + position[stem], SECONDS, overtone, RATE, note) for stem, overtone in OVERTONES.items()
    }
    for domain, (first, second) in DOMAINS.items():
        tracks[domain] = 0.9 * tracks[first] + 0.6 * tracks[second]
    return {track: np.round(30_000 * audio).astype(np.int16) for track, audio in tracks.items()}


def make(folder: Path, change: Callable[[dict[str, Tracks]], None] = lambda _: None, notes: Any = None) -> Path:
    """A set of three pieces, changed before it is written."""
    pieces = {name: tracks_of(number) for number, name in enumerate(SPLITS)}
    change(pieces)
    folder.mkdir()
    entries = {
        name: write_piece(folder, name, tracks, RATE, {"split": SPLITS[name]}, (notes or {}).get(name))
        for name, tracks in pieces.items()
    }
    write_description(folder, RATE, DOMAINS, entries, {})
    return folder


def problems(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    capsys.readouterr()
    status = main(["check", str(folder), "--jobs", "1", "--json", *options])
    found = json.loads(capsys.readouterr().out)
    assert status == (2 if found["problems"] else 0)
    assert found["sound"] == (not found["problems"])
    return list(found["problems"])


def test_a_sound_set_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make(tmp_path / "set")
    assert problems(folder, capsys) == []
    assert main(["check", str(folder), "--jobs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "nothing is wrong" in printed
    assert "validation                     1    0.002" in printed
    assert "notes: none; full-rate copy: no" in printed


def silent(pieces: dict[str, Tracks]) -> None:
    pieces["one"]["lute"][:] = 0


def clipped(pieces: dict[str, Tracks]) -> None:
    for track in ("oboe", "oboe-harp"):
        pieces["two"][track] = np.clip(pieces["two"][track].astype(int) * 6, -32768, 32767).astype(np.int16)


def offset(pieces: dict[str, Tracks]) -> None:
    pieces["two"]["harp"] += 3000


def foreign_mixture(pieces: dict[str, Tracks]) -> None:
    pieces["three"]["lute-viol"] = tracks_of(9, 0.41)["lute-viol"]


def foreign_stem(pieces: dict[str, Tracks]) -> None:
    pieces["three"]["viol"] = tracks_of(9, 0.41)["viol"]


def opposite(pieces: dict[str, Tracks]) -> None:
    pieces["three"]["viol"] = -pieces["three"]["viol"]


def late(pieces: dict[str, Tracks]) -> None:
    for track in ("oboe", "harp", "oboe-harp"):
        pieces["one"][track] = np.roll(pieces["one"][track], RATE // 4)


def other_music(pieces: dict[str, Tracks]) -> None:
    other = tracks_of(9, 0.41)
    pieces["one"].update({track: other[track] for track in ("oboe", "harp", "oboe-harp")})


def in_two_splits(pieces: dict[str, Tracks]) -> None:
    pieces["three"] = pieces["one"]


def same_stems(pieces: dict[str, Tracks]) -> None:
    pieces["two"]["oboe-harp"] = pieces["two"]["oboe"]


def quiet(pieces: dict[str, Tracks]) -> None:
    for track in pieces["two"]:
        pieces["two"][track] = pieces["two"][track] // 20


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (silent, ["piece 'one': lute: is silent"]),
        (clipped, ["piece 'two': oboe: ", "piece 'two': oboe-harp: "]),
        (offset, ["piece 'two': harp: has an offset: its mean is +0.09"]),
        (
            foreign_mixture,
            [
                "piece 'three': lute: is hardly heard in lute-viol",
                "piece 'three': viol: is hardly heard in lute-viol",
                "piece 'three': lute-viol: its stems leave",
                "piece 'three': oboe-harp: does not seem to play the same music as lute-viol",
            ],
        ),
        (foreign_stem, ["piece 'three': viol: is hardly heard in lute-viol"]),
        (opposite, ["piece 'three': viol: is in lute-viol with the opposite sign"]),
        (late, ["piece 'one': oboe-harp: is 0.25 s later than lute-viol"]),
        (other_music, ["piece 'one': oboe-harp: does not seem to play the same music as lute-viol"]),
        (in_two_splits, ["pieces 'one' and 'three', in 'train' and in 'test', have the same lute, viol, lute-viol"]),
        (same_stems, ["harp: is hardly heard in oboe-harp", "piece 'two': oboe and oboe-harp are the same recording"]),
        (quiet, [f"piece 'two': {track}: its level is" for track in OVERTONES]),
    ],
)
def test_each_planted_fault_is_found(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Tracks]], None],
    expected: list[str],
):
    found = problems(make(tmp_path / "set", change), capsys)
    for line in expected:
        assert any(line in problem for problem in found), found
    also = [problem for problem in found if not any(line in problem for line in expected)]
    assert all(change is quiet and "its level is" in problem for problem in also), also


def test_files_that_are_missing_or_of_another_kind_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from musicstar_ext.data.wav import write_wav

    folder = make(tmp_path / "set")
    audio = tracks_of(0)
    (folder / "one" / "lute.wav").unlink()
    (folder / "one" / "viol.wav").write_bytes(b"no music")
    write_wav(folder / "one" / "oboe.wav", audio["oboe"][:-5], RATE)
    write_wav(folder / "one" / "harp.wav", audio["harp"], 8000)
    write_wav(folder / "two" / "harp.wav", np.stack([audio["harp"]] * 2, axis=1), RATE)
    assert problems(folder, capsys) == [
        "piece 'one': lute: cannot be read: No such file or directory",
        "piece 'one': viol: not a WAV file",
        f"piece 'one': oboe: has {len(audio['oboe']) - 5} samples, dataset.json says {len(audio['oboe'])}",
        "piece 'one': harp: has 8000 Hz, the set has 16000 Hz",
        "piece 'two': harp: number of channels is 2, the set's is 1",
    ]


def test_levels_that_are_not_the_tracks_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make(tmp_path / "set")
    pieces = json.loads((folder / "dataset.json").read_text())["pieces"]
    pieces["one"]["levels"]["lute"] += 1
    pieces["two"]["levels"]["harp"] = None
    edit_description(folder, pieces=pieces)
    found = problems(folder, capsys)
    assert "piece 'one': lute: dataset.json says " in found[0]
    assert "piece 'two': harp: dataset.json says silence, it has -" in found[1]
    assert len(found) == 2


def test_splits_without_pieces_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make(tmp_path / "set")
    pieces = json.loads((folder / "dataset.json").read_text())["pieces"]
    edit_description(folder, pieces={"one": pieces["one"]})
    assert problems(folder, capsys) == ["split 'validation': has no pieces", "split 'test': has no pieces"]


def test_notes_that_do_not_fit_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good = {stem: [[0, 1, 60, 100]] for stem in OVERTONES}
    notes = {"one": good, "two": {**good, "lute": [[5, 1, 60, 100], [0, 1, 60, 100]], "viol": []}}
    folder = make(tmp_path / "set", notes=notes)
    assert problems(folder, capsys) == [
        "piece 'two': notes.json: 1 notes of lute end after the audio (6.00 of 5.50 s)",
        "piece 'two': notes.json has no notes of viol",
        "piece 'three': has no notes, and other pieces have",
    ]
    (folder / "one" / "notes.json").write_text("[")
    assert problems(folder, capsys)[0].startswith("piece 'one': notes.json: not JSON")


def test_a_full_rate_copy_that_does_not_fit_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make(tmp_path / "set")
    entries = json.loads((folder / "dataset.json").read_text())["pieces"]
    copy, wide = folder / "full-rate", {}
    copy.mkdir()
    for name in ("one", "two"):
        samples = round(entries[name]["samples"] * 2.5) - 900 * (name == "two")
        tracks = {track: np.full((samples, 2), 1000, np.int16) for track in tracks_of(0)}
        wide[name] = write_piece(copy, name, tracks, 40_000, {"split": "train"})
    write_description(copy, 40_000, DOMAINS, wide, {}, channels=2)
    (copy / "one" / "lute.wav").unlink()
    assert problems(folder, capsys) == [
        "full-rate: lacks piece 'three'",
        f"{copy}/one/lute.wav: cannot be read: No such file or directory",
        "full-rate: piece 'two' is in another split than in the set",
        "full-rate: piece 'two' has another length than in the set",
    ]
    (copy / "dataset.json").unlink()
    assert "not finished yet" in problems(folder, capsys)[0]


def test_what_is_no_set_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check", str(tmp_path)]) == 2
    assert "not a prepared set" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("lag", [-150, -3, 0, 7, 180])
def test_lags_are_found_across_timbres(lag: int):
    one, other = melody(1, 8.0, 2, RATE), melody(1, 8.0, 5, RATE)
    samples = lag * RATE // FRAMES_PER_SECOND
    shifted = np.pad(other, (max(samples, 0), 0))[max(-samples, 0) :][: len(one)]
    correlations = correlation(onsets(one, RATE), onsets(shifted, RATE), 200)
    assert abs(int(correlations.argmax()) - 200 - lag) <= 1
    assert np.abs(correlations).max() <= 1


def test_silence_and_too_short_music_have_no_lag():
    assert not correlation(onsets(np.zeros(RATE, np.float32), RATE), onsets(melody(1, 1.0, 2, RATE), RATE), 50).any()
    assert onsets(np.ones(100, np.float32), RATE).shape[1] == 0


def test_real_recordings_fit_together(starnet_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What is found in them is there: offsets and unequal levels, no misfit and no lag."""
    assert main(["prepare", "--jobs", "1", str(starnet_clips), str(tmp_path / "set")]) == 0
    found = problems(tmp_path / "set", capsys)
    assert found
    assert all("has an offset" in problem or "its level is" in problem for problem in found)
