"""Whole sets from a miniature collection: folders, streams, interruptions, hostile archives."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from data.recordings import RATE, contents, make_collection, melody, pack, pack_parts, write_archive

from musicstar_ext.data.__main__ import main
from musicstar_ext.data.prepare import by_file, by_shares
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError

ONE_JOB = ("--jobs", "1")
TRACKS = ["strings", "piano", "strings-piano", "clarinet", "vibraphone", "clarinet-vibraphone"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pieces as single files."""
    return make_collection(tmp_path_factory.mktemp("collection") / "starnet", 3)


@pytest.fixture(scope="module")
def parts(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same in two archives, in no order."""
    return pack_parts(collection, tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module")
def uninterrupted(parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set that both archives give, in one go."""
    output = tmp_path_factory.mktemp("set") / "set"
    assert prepare(*parts, output) == 0
    return output


def prepare(*arguments: object) -> int:
    return main(["prepare", *ONE_JOB, *map(str, arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line on stderr with which a command ends."""
    capsys.readouterr()
    assert prepare(*arguments) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def warnings_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """The warnings of a command that goes well."""
    capsys.readouterr()
    assert prepare(*arguments) == 0
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    return [line.strip().removeprefix("warning: ") for line in lines if line.strip().startswith("warning: ")]


def same_but_for_inputs(first: Path, second: Path) -> bool:
    """Whether two sets have the same files; `dataset.json` also names the inputs."""
    sets = [contents(folder) for folder in (first, second)]
    for files in sets:
        for name in [name for name in files if name.endswith("dataset.json")]:
            description = json.loads(files[name])
            del description["made_by"]["inputs"]
            files[name] = json.dumps(description).encode()
    return sets[0] == sets[1]


def test_the_set_is_a_prepared_set(uninterrupted: Path):
    prepared = PreparedSet.open(uninterrupted)
    assert prepared.domains == {
        "strings-piano": ["strings", "piano"],
        "clarinet-vibraphone": ["clarinet", "vibraphone"],
    }
    assert (prepared.sample_rate, prepared.channels) == (16_000, 1)
    pieces = [piece for split in ("train", "validation", "test") for piece in prepared.pieces(split)]
    assert sorted(piece.name for piece in pieces) == ["001", "002", "003"]
    assert len({piece.split for piece in pieces}) == 3
    assert all(0.6 < piece.samples / 16_000 < 0.8 for piece in pieces)  # 1.25 s of 2 s are silent
    assert all(np.isfinite(level) for level in prepared.levels.values())
    assert prepared.full_rate() is None
    assert prepared.made_by["inputs"] == ["part1.tar.gz", "part2.tar.gz"]


def test_a_folder_and_several_processes_give_the_same_set(collection: Path, uninterrupted: Path, tmp_path: Path):
    assert main(["prepare", "--jobs", "2", str(collection), str(tmp_path / "set")]) == 0
    assert same_but_for_inputs(tmp_path / "set", uninterrupted)


@pytest.mark.parametrize("compression", ["", "bz2", "xz"])
def test_other_compressions_give_the_same_set(collection: Path, uninterrupted: Path, tmp_path: Path, compression: str):
    archive, fast = tmp_path / "an archive", {"bz2": {"compresslevel": 1}, "xz": {"preset": 0}}
    with tarfile.open(archive, f"w:{compression}", format=tarfile.GNU_FORMAT, **fast.get(compression, {})) as tar:
        for path in sorted(collection.glob("001.*")):
            tar.add(path, f"./starnet/{path.name}")
    assert prepare(archive, tmp_path / "set") == 0
    made = contents(tmp_path / "set" / "001")
    assert len(made) == 7
    assert made == contents(uninterrupted / "001")


def test_the_full_rate_copy_is_the_same_set(collection: Path, uninterrupted: Path, tmp_path: Path):
    output = tmp_path / "set"
    assert prepare(collection, output, "--full-rate") == 0
    prepared = PreparedSet.open(output)
    copy = prepared.full_rate()
    assert copy is not None
    assert (copy.sample_rate, copy.channels) == (RATE, 2)
    for piece, wide in zip(prepared.pieces("train"), copy.pieces("train"), strict=True):
        assert piece.name == wide.name
        assert wide.audio("piano").shape == (wide.samples, 2)
        assert abs(wide.samples / RATE - piece.samples / 16_000) < 1 / 16_000
    narrow = {name: data for name, data in contents(output).items() if not name.startswith("full-rate")}
    assert {n for n in narrow if n.endswith("wav")} == {n for n in contents(uninterrupted) if n.endswith("wav")}
    assert all(contents(uninterrupted)[name] == data for name, data in narrow.items() if name.endswith("wav"))
    (output / "full-rate" / "002" / "piano.wav").unlink()
    assert prepare(collection, output) == 0  # it is kept up, unasked
    assert PreparedSet.open(output).full_rate() is not None


@pytest.mark.parametrize("lost", ["dataset.json", "001/piano.wav", "002/piece.json"])
def test_what_is_missing_is_made_again_and_the_rest_kept(
    parts: list[Path], uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str
):
    output = tmp_path / "set"
    copy_tree(uninterrupted, output)
    (output / lost).unlink()
    if lost.endswith("json") and lost != "dataset.json":
        assert "is in the way" in refused(capsys, *parts, output)
        return
    assert prepare(*parts, output) == 0
    kept = 3 if lost == "dataset.json" else 2
    assert f"{kept} of them kept" in capsys.readouterr().out
    assert contents(output) == contents(uninterrupted)


def test_a_recording_that_has_changed_is_taken_again(
    collection: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """From a stream, where the piece's other recordings have gone by when it is noticed."""
    changed = tmp_path / "changed"
    copy_tree(collection, changed)
    samples, rate = soundfile.read(changed / "002.5.wav")
    soundfile.write(changed / "002.5.wav", samples[:-50], rate)
    archive = pack(sorted(changed.iterdir()), tmp_path / "changed.tar.gz")
    output = tmp_path / "set"
    copy_tree(uninterrupted, output)
    assert prepare(archive, output) == 0
    assert "2 of them kept" in capsys.readouterr().out
    assert prepare(changed, tmp_path / "new") == 0
    assert same_but_for_inputs(output, tmp_path / "new")


def test_other_options_make_every_piece_again(
    collection: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "set"
    copy_tree(uninterrupted, output)
    assert prepare(collection, output, "--silence", "off") == 0
    assert "kept" not in capsys.readouterr().out
    assert PreparedSet.open(output).pieces("train")[0].samples > 1.9 * 16_000


KILLED = """
import os, signal, sys
from musicstar_ext.data import prepared_writer
from musicstar_ext.data.__main__ import main
write, left = prepared_writer.write_wav, 8  # in the middle of the second piece
def write_wav(*arguments):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)
prepared_writer.write_wav = write_wav
main(sys.argv[1:])
"""


def test_a_killed_run_can_be_gone_on_with(
    parts: list[Path], uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "set"
    command = [sys.executable, "-c", KILLED, "prepare", *ONE_JOB, *map(str, parts), str(output)]
    killed = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(UserError, match="not finished yet"):
        PreparedSet.open(output)
    assert [name for name in os.listdir(output) if name.endswith(".part")]  # what it was about
    assert prepare(*parts, output) == 0
    assert "1 of them kept" in capsys.readouterr().out
    assert contents(output) == contents(uninterrupted)


def test_ctrl_c_leaves_whole_pieces_and_nothing_else(
    parts: list[Path], uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from musicstar_ext.data import prepared_writer

    left = [8]

    def interrupted(*arguments: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        write(*arguments)

    write = prepared_writer.write_wav
    monkeypatch.setattr(prepared_writer, "write_wav", interrupted)
    output = tmp_path / "set"
    assert prepare(*parts, output) == 130
    assert len(os.listdir(output)) == 1
    assert not list(output.glob(".*"))
    monkeypatch.undo()
    assert prepare(*parts, output) == 0
    assert contents(output) == contents(uninterrupted)


def test_bad_pieces_are_named_and_the_others_go_on(
    collection: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bad = tmp_path / "bad"
    copy_tree(collection, bad)
    for name in ("004.0.wav", "004.2.wav"):
        (bad / name).write_bytes((bad / "001.0.wav").read_bytes())
    for code in range(6):
        (bad / f"005.{code}.wav").write_bytes((bad / f"003.{code}.wav").read_bytes())
    with (bad / "005.4.wav").open("r+b") as file:
        file.truncate(5000)
    (bad / "notes.txt").touch()
    (bad / "._001.0.wav").touch()
    (bad / "001.9.wav").touch()
    archive = pack(sorted(bad.iterdir()), tmp_path / "bad.tar.gz")
    for number, source in enumerate((bad, archive)):
        output = tmp_path / f"set {number}"
        lines = warnings_of(capsys, source, output)
        assert len(lines) == 2
        assert "piece '005' is left out: " in lines[0]
        assert "005.4.wav: truncated" in lines[0]
        assert lines[1] == "piece '004' is left out: there is no recording of strings, piano, strings-piano, clarinet"
        assert same_but_for_inputs(output, uninterrupted)
        assert "not finished, as --strict asks: piece '005'" in refused(capsys, source, tmp_path / "s", "--strict")
        assert not (tmp_path / "s" / "dataset.json").exists()


def member(name: str, data: bytes = b"", **changes: object) -> Callable[[tarfile.TarFile], None]:
    """What adds a member with a header of its own."""

    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in changes.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(data))

    return add


@pytest.mark.parametrize(
    ("add", "warning"),
    [
        (member("../../001.0.wav", b"x"), "'../../001.0.wav' leads out of the archive"),
        (member("/etc/001.0.wav", b"x"), "'/etc/001.0.wav' leads out of the archive"),
        (member("a/../001.0.wav", b"x"), "leads out of the archive"),
        (member("p/001.0.wav", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link, a device or the like"),
        (member("p/001.0.wav", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "is a link, a device or the like"),
        (member("p/001.0.wav", type=tarfile.CHRTYPE), "is a link, a device or the like"),
        (member("p/001.0.wav", type=tarfile.FIFOTYPE), "is a link, a device or the like"),
        (member("p/line\nbreak/../x", b"x"), "leads out of the archive"),
        (member("p/..\x1b[31m.0.wav", b"x"), None),
        (member("p/full-rate.0.wav", b"x"), None),
        (member("p/001.0.wav/", type=tarfile.DIRTYPE), None),
    ],
)
def test_what_an_archive_should_not_have_is_left_out(
    collection: Path,
    uninterrupted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    add: Callable[[tarfile.TarFile], None],
    warning: str | None,
):
    def fill(tar: tarfile.TarFile) -> None:
        add(tar)
        tar.add(collection, "starnet")

    (tmp_path / "work").mkdir()
    archive = write_archive(tmp_path / "work" / "a.tar.gz", fill)
    lines = warnings_of(capsys, archive, tmp_path / "work" / "set")
    assert len(lines) == (warning is not None)
    assert all(str(warning) in line and line.startswith(str(archive)) for line in lines)
    assert same_but_for_inputs(tmp_path / "work" / "set", uninterrupted)
    assert os.listdir(tmp_path) == ["work"]


def test_many_such_members_do_not_flood_the_terminal(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def fill(tar: tarfile.TarFile) -> None:
        for number in range(100):
            member(f"../{number}", b"x")(tar)
        tar.add(collection, "starnet")

    assert len(warnings_of(capsys, write_archive(tmp_path / "a.tgz", fill), tmp_path / "set")) == 11


def test_the_first_of_two_recordings_counts(
    collection: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = sorted(collection.iterdir())
    other = pack([files[5]], tmp_path / "again.tar.gz")
    lines = warnings_of(capsys, pack(files, tmp_path / "a.tar.gz"), other, tmp_path / "set")
    assert lines == [
        f"piece '001': {other}: starnet-p1/001.5.wav: the second recording of 'piano': left out",
    ]
    assert same_but_for_inputs(tmp_path / "set", uninterrupted)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9, 0.9999])
def test_a_truncated_archive_is_an_error_and_whole_pieces_are_kept(
    collection: Path,
    uninterrupted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    share: float,
):
    archive = pack(sorted(collection.iterdir()), tmp_path / "a.tar.gz")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    line = refused(capsys, archive, tmp_path / "set")
    assert str(archive) in line
    assert "damaged" in line or "truncated" in line
    assert not (tmp_path / "set" / "dataset.json").exists()
    kept = [name for name in os.listdir(tmp_path / "set") if not name.startswith(".")]
    assert f"{len(kept)} pieces are whole" in line or share < 0.01
    archive.write_bytes(whole)
    assert prepare(archive, tmp_path / "set") == 0
    assert same_but_for_inputs(tmp_path / "set", uninterrupted)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_archive_never_makes_a_whole_set(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
):
    archive = pack(sorted(collection.iterdir()), tmp_path / "a.tar.gz")
    damaged = bytearray(archive.read_bytes())
    place = random.Random(seed).randrange(20, len(damaged))
    damaged[place : place + 10] = b"\xaa\x55" * 5
    archive.write_bytes(damaged)
    assert str(archive) in refused(capsys, archive, tmp_path / "set")
    assert not (tmp_path / "set" / "dataset.json").exists()


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    assert "a header of 1099511627776 bytes" in refused(capsys, tmp_path / "a.tar", tmp_path / "set")


def test_a_recording_larger_than_any_wav_file_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    header = tarfile.TarInfo("x/001.0.wav")
    header.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    assert "damaged or truncated" in refused(capsys, tmp_path / "a.tar", tmp_path / "set")


def test_nothing_to_prepare_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("I am no archive at all. " * 100)
    (tmp_path / "nothing").touch()
    for name, problem in {
        "empty": "no file is named like {piece}.{file}.wav",
        "none": "no such file or folder",
        "text": "neither a folder nor a tar archive",
        "nothing": "neither a folder nor a tar archive",
    }.items():
        line = refused(capsys, tmp_path / name, tmp_path / "set")
        assert str(tmp_path / name) in line
        assert problem in line
        assert not (tmp_path / "set" / "dataset.json").exists()


def test_a_full_rate_copy_of_less_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for code in range(6):
        soundfile.write(tmp_path / f"001.{code}.wav", melody(1, 1.0, 2, 16_000), 16_000)
    line = refused(capsys, tmp_path, tmp_path / "set", "--full-rate")
    assert "has 16000 Hz, below the 44100 Hz of a full-rate copy: leave it out" in line
    assert prepare(tmp_path, tmp_path / "other set") == 0


def test_a_full_disk_is_one_line(parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("musicstar_ext.data.prepared_writer.write_wav", full)
    assert "cannot be written: No space left on device" in refused(capsys, *parts, tmp_path / "set")
    assert os.listdir(tmp_path / "set") == []


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 104])
def test_every_piece_has_a_split_and_every_split_its_share(count: int):
    names = [f"{number:03}" for number in range(count)]
    shares = {"train": 0.8, "validation": 0.15, "test": 0.05}
    dealt = by_shares(shares, seed=0)(names)
    assert dealt == by_shares(shares, seed=0)(names[::-1])
    assert sorted(dealt) == names
    counts = Counter(dealt.values())
    assert all(abs(counts[split] - share * count) < 2 for split, share in shares.items())
    assert len(counts) == min(count, 3)
    if count == 104:
        assert counts == {"train": 83, "validation": 16, "test": 5}
        assert dealt != by_shares(shares, seed=1)(names)
        assert set(by_shares({**shares, "train": 1.0, "validation": 0, "test": 0}, 0)(names).values()) == {"train"}


def test_splits_can_come_from_a_file(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    splits = {"001": "test", "002": "train", "003": "validation", "009": "test"}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    lines = warnings_of(capsys, collection, tmp_path / "set", "--split-file", tmp_path / "splits.json")
    assert lines == [f"{tmp_path / 'splits.json'}: names '009' (1 pieces), which the set does not have"]
    assert [piece.name for piece in PreparedSet.open(tmp_path / "set").pieces("test")] == ["001"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "not a JSON object that gives"),
        ("{}", "not a JSON object that gives"),
        ("{", "not JSON"),
        ('{"001": "training"}', "piece '001': split must be one of train, validation, test"),
        ('{"001": ["train"]}', "piece '001': split must be one of"),
        ('{"001": "train"}', "gives no split for '002', '003' (2 pieces)"),
    ],
)
def test_a_bad_file_of_splits_is_one_line(tmp_path: Path, text: str, problem: str):
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        by_file(path, print)(["001", "002", "003"])
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


TRIO = {
    "domains": {"trio": ["flute", "viola", "harp"], "solo": ["guitar"]},
    "files": {"fl": "flute", "vla": "viola", "hp": "harp", "mix": "trio", "gtr": "guitar", "all": "solo"},
    "pattern": "{piece}/take-{file}.flac",
}


def test_another_collection_is_described_by_a_file(tmp_path: Path):
    for piece in ("a song", "another"):
        (tmp_path / "in" / piece).mkdir(parents=True)
        for number, file in enumerate(TRIO["files"]):
            audio = melody(number, 1.5, 2, 22_050)
            soundfile.write(tmp_path / "in" / piece / f"take-{file}.flac", audio, 22_050)
    (tmp_path / "layout.json").write_text(json.dumps(TRIO))
    for source in (tmp_path / "in", pack_folder(tmp_path / "in", tmp_path / "in.tar.gz")):
        output = tmp_path / f"set of {source.name}"
        assert prepare(source, output, "--layout", tmp_path / "layout.json") == 0
        prepared = PreparedSet.open(output)
        assert prepared.domains == TRIO["domains"]
        assert prepared.tracks == ["flute", "viola", "harp", "trio", "guitar", "solo"]
        pieces = [piece for split in ("train", "validation") for piece in prepared.pieces(split)]
        assert {piece.name for piece in pieces} == {"a song", "another"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"domains": {}}, "at least one domain"),
        ({"domains": {"trio": "flute"}}, "domain 'trio' must list its stems"),
        ({"domains": {"trio": ["flute", "flute"]}}, "two tracks have the same name"),
        ({"domains": {"../x": ["flute"]}, "files": {"a": "flute", "b": "../x"}}, "is not the name of a track"),
        ({"domains": {"trio": ["flute", "drums"]}}, "files must name 'drums' once"),
        ({"domains": {"trio": ["flute"]}}, "names 'viola', which is no domain"),
        ({"files": {**TRIO["files"], "x": "harp"}}, "files must name 'harp' once"),
        ({"files": ["fl"]}, "files must be a JSON object"),
        ({"files": {"fl": 3}}, "files must be a JSON object"),
        ({"files": {"a/b": "flute"}}, "has no '/'"),
        ({"pattern": "{piece}.wav"}, "pattern must have {file} once"),
        ({"pattern": "{file}{file}{piece}.wav"}, "pattern must have {file} once"),
        ({"pattern": 3}, "pattern must be a text"),
        ({"more": 1}, "'more', which no layout has"),
    ],
)
def test_a_bad_layout_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], problem: str
):
    path = tmp_path / "layout.json"
    path.write_text(json.dumps({**TRIO, **changes}))
    line = refused(capsys, tmp_path, tmp_path / "set", "--layout", path)
    assert f"{path}: " in line
    assert problem in line
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "required"),
        (["in"], "required"),
        (["in", "out", "--silence", "3"], "must be off, or from -200"),
        (["in", "out", "--silence", "quiet"], "must be a number"),
        (["in", "out", "--least-silence", "0"], "above 0"),
        (["in", "out", "--least-silence", "nan"], "must be a number"),
        (["in", "out", "--split", "1,1,1"], "three shares"),
        (["in", "out", "--split", "1,0,0", "--split-file", "x"], "not allowed with"),
        (["in", "out", "--split-file", "none.json"], "none.json: cannot be read"),
        (["in", "out", "--layout", "none.json"], "none.json: cannot be read"),
        (["in", "out"], "in: no such file or folder"),
    ],
)
def test_each_bad_argument_is_one_line(
    arguments: Sequence[str], problem: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert problem in refused(capsys, *arguments)
    assert not (tmp_path / "out").exists()


def test_real_recordings_are_prepared(starnet_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """16 kHz mono: what is not cut comes through to the bit."""
    assert prepare(starnet_clips, tmp_path / "set") == 0
    prepared = PreparedSet.open(tmp_path / "set")
    pieces = [piece for split in ("train", "validation", "test") for piece in prepared.pieces(split)]
    assert sorted(piece.name for piece in pieces) == ["001", "002", "003", "004", "005"]
    for piece in pieces:
        assert piece.samples == 160_000 - round(16_000 * piece.details["cut_seconds"])
        if not piece.details["cut_seconds"]:
            original = soundfile.read(starnet_clips / f"{piece.name}.3.wav", dtype="int16")[0]
            np.testing.assert_array_equal(piece.audio("strings-piano"), original[: piece.samples])
    assert "below the 44100 Hz" in refused(capsys, starnet_clips, tmp_path / "wide", "--full-rate")


def copy_tree(source: Path, destination: Path) -> None:
    for name, data in contents(source).items():
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        (destination / name).write_bytes(data)


def pack_folder(folder: Path, archive: Path) -> Path:
    return write_archive(archive, lambda tar: tar.add(folder, "x"))
