from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.conftest import DOMAINS, RATE, TRACKS, edit_description, make_set

from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.data.prepared_writer import (
    make_output_folder,
    read_whole_piece,
    remove_unfinished,
    write_description,
    write_piece,
)
from musicstar_ext.data.wav import write_wav
from musicstar_ext.errors import UserError


def test_a_set_is_read_as_it_was_written(prepared_folder: Path):
    prepared = PreparedSet.open(prepared_folder)
    assert prepared.sample_rate == RATE
    assert prepared.domains == DOMAINS
    assert prepared.tracks == TRACKS
    assert prepared.channels == 1
    assert prepared.levels.keys() == set(TRACKS)
    assert prepared.levels["oboe"] == -math.inf
    assert [piece.name for piece in prepared.pieces("train")] == ["one", "two"]
    assert [piece.name for piece in prepared.pieces("test")] == ["three"]
    assert prepared.pieces("validation") == []
    piece = prepared.pieces("train")[0]
    audio = piece.audio("lute-viol")
    assert (piece.split, piece.samples, audio.shape, audio.dtype) == ("train", 500, (500,), np.dtype(np.int16))
    assert not audio.flags.writeable
    assert not np.array_equal(audio, piece.audio("lute"))


def test_unknown_tracks_and_splits_are_named(prepared_folder: Path):
    prepared = PreparedSet.open(prepared_folder)
    with pytest.raises(UserError, match="'one' has no track 'drums'; it has lute, viol"):
        prepared.pieces("train")[0].audio("drums")
    with pytest.raises(UserError, match="not 'training'"):
        prepared.pieces("training")


def test_silent_pieces_and_pieces_of_no_samples_are_fine(tmp_path: Path):
    prepared = PreparedSet.open(make_set(tmp_path, {"empty": "train"}, samples=0))
    assert prepared.pieces("train")[0].audio("harp").shape == (0,)


def test_hundreds_of_maps_can_be_open_at_once(tmp_path: Path):
    """Each holds a file descriptor, and 1024 is a usual limit."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = make_set(tmp_path, {f"piece {i}": "train" for i in range(20)}, samples=3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        pieces = PreparedSet.open(folder).pieces("train")
        maps = [piece.audio(track) for piece in pieces for track in TRACKS]
        assert len(maps) == 120
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": "another"}, "not the description of a prepared set"),
        ({"version": 1}, "format version 1"),
        ({"version": None}, "format version None"),
        ({"sample_rate": "fast"}, "sample_rate must be"),
        ({"sample_rate": True}, "sample_rate must be"),
        ({"sample_rate": 16_000}, "has 8000 Hz, the set has 16000 Hz"),
        ({"channels": 3}, "channels must be 1 or 2"),
        ({"channels": True}, "channels must be 1 or 2"),
        ({"channels": 2}, "number of channels is 1, the set's is 2"),
        ({"domains": {}}, "at least one domain"),
        ({"domains": ["lute"]}, "at least one domain"),
        ({"domains": {"lute-viol": []}}, "must list its stems"),
        ({"domains": {"lute-viol": ["lute", 3]}}, "must list its stems"),
        ({"domains": {"lute-viol": ["lute", "lute"]}}, "same name"),
        ({"levels": {}}, "levels must give"),
        ({"levels": {"lute-viol": -20.0, "oboe-harp": -20.0}}, "levels must give"),
        ({"levels": dict.fromkeys(TRACKS, "loud")}, "levels must give"),
        ({"levels": dict.fromkeys(TRACKS, math.nan)}, "levels must give"),
        ({"made_by": 1}, "made_by"),
        ({"pieces": []}, "pieces must be"),
        ({"pieces": {"one": 1}}, "piece 'one' must be"),
        ({"pieces": {"one": {"split": "train"}}}, "piece 'one': samples"),
        ({"pieces": {"one": {"split": "train", "samples": -1}}}, "piece 'one': samples"),
        ({"pieces": {"one": {"split": ["train"], "samples": 1}}}, "piece 'one': split"),
        ({"pieces": {"../set/one": {"split": "train", "samples": 500}}}, "not the name of a track or piece"),
        ({"pieces": {"four": {"split": "train", "samples": 500}}}, "four/lute.wav: cannot be read"),
        ({"pieces": {"full-rate": {"split": "train", "samples": 500}}}, "'full-rate' is not the name of a piece"),
    ],
)
def test_a_description_that_is_wrong_is_one_clear_line(prepared_folder: Path, changes: dict[str, Any], problem: str):
    edit_description(prepared_folder, **changes)
    with pytest.raises(UserError, match=problem) as caught:
        PreparedSet.open(prepared_folder)
    assert "\n" not in str(caught.value)
    assert str(prepared_folder) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\xff", "[" * 100_000])
def test_a_description_that_is_no_object_is_refused(prepared_folder: Path, text: str):
    (prepared_folder / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"dataset\.json: not"):
        PreparedSet.open(prepared_folder)


def test_no_folder_no_set_and_a_file_are_told_apart(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder"):
        PreparedSet.open(tmp_path / "none")
    with pytest.raises(UserError, match=r"not finished yet: it has no dataset\.json"):
        PreparedSet.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not a folder"):
        PreparedSet.open(tmp_path / "file")


def test_damaged_tracks_are_named(prepared_folder: Path):
    path = prepared_folder / "two" / "harp.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"two/harp\.wav: truncated"):
        PreparedSet.open(prepared_folder)
    write_wav(path, np.zeros(499, np.int16), RATE)
    with pytest.raises(UserError, match=r"two/harp\.wav: has 499 samples, dataset\.json says 500"):
        PreparedSet.open(prepared_folder)
    path.unlink()
    with pytest.raises(UserError, match=r"two/harp\.wav: cannot be read: No such file"):
        PreparedSet.open(prepared_folder)


def tracks(value: int) -> dict[str, np.ndarray]:
    return {track: np.full(20, value, np.int16) for track in TRACKS}


def test_a_piece_replaces_an_earlier_one_and_nothing_else(tmp_path: Path):
    for value in (1, 2):
        entry = write_piece(tmp_path, "a", tracks(value), RATE, {"split": "train"})
        assert entry == read_whole_piece(tmp_path, "a", TRACKS)
        assert (entry["split"], entry["samples"], entry["levels"].keys()) == ("train", 20, set(TRACKS))
    assert os.listdir(tmp_path) == ["a"]
    (tmp_path / "holiday photos").mkdir()
    with pytest.raises(UserError, match="is in the way"):
        write_piece(tmp_path, "holiday photos", tracks(1), RATE, {})


def test_a_piece_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("musicstar_ext.data.prepared_writer.write_wav", full)
    with pytest.raises(UserError, match="No space left"):
        write_piece(tmp_path, "a", tracks(1), RATE, {})
    assert os.listdir(tmp_path) == []


def test_pieces_that_are_not_whole_are_noticed(prepared_folder: Path):
    assert read_whole_piece(prepared_folder, "one", TRACKS)
    assert read_whole_piece(prepared_folder, "one", [*TRACKS, "drums"]) is None
    assert read_whole_piece(prepared_folder, "none", TRACKS) is None
    (prepared_folder / "one" / "piece.json").write_text(json.dumps({"samples": 501}))
    assert read_whole_piece(prepared_folder, "one", TRACKS) is None
    (prepared_folder / "one" / "piece.json").write_text("[]")
    assert read_whole_piece(prepared_folder, "one", TRACKS) is None


def test_leftovers_of_a_killed_run_go_and_pieces_stay(prepared_folder: Path):
    (prepared_folder / ".four.abc.part").mkdir()
    (prepared_folder / ".four.abc.part" / "lute.wav").touch()
    remove_unfinished(prepared_folder)
    assert sorted(os.listdir(prepared_folder)) == ["dataset.json", "one", "three", "two"]


def test_an_output_that_cannot_be_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        make_output_folder(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        make_output_folder(tmp_path / "file" / "below")
    if os.getuid() == 0:
        with pytest.raises(UserError, match="cannot be written"):
            make_output_folder(Path("/proc/set"))


def test_sets_of_two_channels_are_read_as_they_were_written(tmp_path: Path):
    left = np.arange(-50, 50, dtype=np.int16) * 300
    audio = np.stack([left, np.zeros_like(left)], axis=1)
    entry = write_piece(tmp_path, "a", {"lute": audio, "duo": audio[::-1]}, RATE, {"split": "train"})
    write_description(tmp_path, RATE, {"duo": ["lute"]}, {"a": entry}, {}, channels=2)
    prepared = PreparedSet.open(tmp_path)
    assert prepared.channels == 2
    piece = prepared.pieces("train")[0]
    assert (piece.samples, piece.audio("lute").shape) == (100, (100, 2))
    np.testing.assert_array_equal(piece.audio("duo"), audio[::-1])
    # The level is that of the mean of both channels.
    mean = 10 * math.log10(np.mean((left / 32768 / 2) ** 2))
    assert prepared.levels == pytest.approx({"lute": mean, "duo": mean}, abs=1e-3)


def test_any_number_of_stems_may_play_together(tmp_path: Path):
    domains = {"trio": ["flute", "viola", "harp"], "solo": ["guitar"]}
    tracks = {track: np.full(900, 3000, np.int16) for track in ("flute", "viola", "harp", "trio", "guitar", "solo")}
    entry = write_piece(tmp_path, "a", tracks, RATE, {"split": "train"})
    write_description(tmp_path, RATE, domains, {"a": entry}, {})
    prepared = PreparedSet.open(tmp_path)
    assert prepared.tracks == list(tracks)
    assert prepared.levels.keys() == tracks.keys()


def test_levels_are_measured_and_their_mean_is_that_of_the_training_pieces(tmp_path: Path):
    pieces = {}
    for name, value, split in (("a", 3276.8, "train"), ("b", 327.68, "train"), ("c", 32767, "test"), ("d", 0, "train")):
        tracks = {track: np.full(1600, value, np.int16) for track in TRACKS}
        pieces[name] = write_piece(tmp_path, name, tracks, RATE, {"split": split})
    write_description(tmp_path, RATE, DOMAINS, pieces, {})
    assert pieces["a"]["levels"]["lute"] == pytest.approx(-20, abs=0.02)
    assert pieces["d"]["levels"]["lute"] is None
    assert PreparedSet.open(tmp_path).levels["oboe-harp"] == pytest.approx(-30, abs=0.02)


def test_a_level_does_not_depend_on_how_much_is_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch):
    from musicstar_ext.data import prepared_writer

    samples = np.random.default_rng(0).integers(-9000, 9000, 5000).astype(np.int16)
    whole = prepared_writer.level_of(samples)
    monkeypatch.setattr(prepared_writer, "AT_A_TIME", 7)
    assert prepared_writer.level_of(samples) == pytest.approx(whole, abs=1e-9)


NOTES = {"lute": [[0.0, 0.5, 60, 100], [0.25, 1.0, 64, 90]], "viol": []}


def test_notes_are_read_as_they_were_written(tmp_path: Path):
    entry = write_piece(tmp_path, "a", tracks(1), RATE, {"split": "train"}, notes=NOTES)
    entries = {"a": entry, "b": write_piece(tmp_path, "b", tracks(1), RATE, {"split": "train"})}
    write_description(tmp_path, RATE, DOMAINS, entries, {})
    with_notes, without = PreparedSet.open(tmp_path).pieces("train")
    notes = with_notes.notes()
    assert notes is not None
    np.testing.assert_array_equal(notes["lute"], NOTES["lute"])
    assert (notes.keys(), notes["viol"].shape) == (NOTES.keys(), (0, 4))
    assert without.notes() is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"drums": []}', "has notes of 'drums', which the set does not have"),
        ('{"lute": 1}', "must list notes"),
        ('{"lute": [[0, 1, 60]]}', "must list notes"),
        ('{"lute": [[0, 1, 60, "loud"]]}', "must list notes"),
        ('{"lute": [[-1, 1, 60, 100]]}', "must list notes"),
        ('{"lute": [[0, 1, 128, 100]]}', "must list notes"),
        ('{"lute": [[0, NaN, 60, 100]]}', "must list notes"),
        ('{"lute": [[0, Infinity, 60, 100]]}', "must list notes"),
        ('{"lute": [[0, true, 60, 100]]}', "must list notes"),
    ],
)
def test_damaged_notes_are_one_clear_line(prepared_folder: Path, text: str, problem: str):
    (prepared_folder / "one" / "notes.json").write_text(text)
    piece = PreparedSet.open(prepared_folder).pieces("train")[0]
    with pytest.raises(UserError, match=problem) as caught:
        piece.notes()
    assert f"{prepared_folder}/one/notes.json" in str(caught.value)


def test_a_full_rate_copy_belongs_to_its_set(prepared_folder: Path):
    assert PreparedSet.open(prepared_folder).full_rate() is None
    make_set(prepared_folder / "full-rate")
    copy = PreparedSet.open(prepared_folder).full_rate()
    assert copy is not None
    assert [piece.name for piece in copy.pieces("train")] == ["one", "two"]
    make_set(prepared_folder / "full-rate", {"one": "train", "two": "test", "three": "test"})
    with pytest.raises(UserError, match="piece 'two' is in another split"):
        PreparedSet.open(prepared_folder).full_rate()
    make_set(prepared_folder / "full-rate", {"one": "train", "two": "train"})
    with pytest.raises(UserError, match="piece 'three' is in one of the two sets only"):
        PreparedSet.open(prepared_folder).full_rate()
    (prepared_folder / "full-rate" / "dataset.json").unlink()
    with pytest.raises(UserError, match="not finished yet"):
        PreparedSet.open(prepared_folder).full_rate()


@pytest.mark.parametrize("name", ["", ".hidden", "../a", "a/b", "full-rate"])
def test_a_piece_cannot_have_any_name(tmp_path: Path, name: str):
    with pytest.raises(UserError, match="cannot be the name of a piece"):
        write_piece(tmp_path, name, tracks(1), RATE, {"split": "train"})
    assert os.listdir(tmp_path) == []
