"""Nothing in a file that is imported runs, whatever it asks for; each is refused in one line."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published_equations import random_decoder, random_encoder

from musicstar_ext.checkpoints import main
from musicstar_ext.published import reading


class Runs:
    """Unpickled the ordinary way, it makes a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.witness}",)


class Evaluates(Runs):
    def __reduce__(self) -> tuple:
        return eval, (f"open({str(self.witness)!r}, 'w').close()",)


STATES = {
    "encoder_state": random_encoder(2, True, channels=4, code=3),
    "decoder_state": random_decoder(2, residual=4, skip=4, code=3),
}


def plain_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def new_format(value: object, path: Path) -> None:
    torch.save(value, path)


def old_format(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def refusal(path: Path, capsys: pytest.CaptureFixture) -> str:
    out = path.parent / "out.safetensors"
    assert main(["convert", str(path), str(out), "--source", "a", "--target", "b"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not out.exists()
    return captured.err


@pytest.mark.parametrize("save", [plain_pickle, new_format, old_format])
@pytest.mark.parametrize("kind", [Runs, Evaluates])
def test_a_checkpoint_that_would_run_something(
    kind: type[Runs], save: Callable[[object, Path], None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, witness = tmp_path / "x.pth", tmp_path / "ran"
    save({"decoder_state": {}, "more": kind(witness)}, path)
    line = refusal(path, capsys)
    assert str(path) in line
    assert "refused, and not run" in line or "damaged" in line
    assert not witness.exists()
    if save is not plain_pickle:
        assert ("system" if kind is Runs else "eval") in line


@pytest.mark.parametrize("save", [plain_pickle, new_format, old_format])
@pytest.mark.parametrize("kind", [Runs, Evaluates])
def test_settings_that_would_run_something(
    kind: type[Runs], save: Callable[[object, Path], None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, witness = tmp_path / "x.pth", tmp_path / "ran"
    torch.save(STATES, path)
    save([kind(witness), 3], tmp_path / "args.pth")
    line = refusal(path, capsys)
    assert "args.pth: refused, and not run: it holds " in line
    assert "give --encoder-layers" in line
    assert not witness.exists()


def test_the_witness_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zipped(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", data)


@pytest.mark.parametrize(
    "damage",
    [
        halved,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not a checkpoint\n" * 20),
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
        lambda path: path.write_bytes(pickle.dumps([1, 2, 3])),
        lambda path: zipped(path, pickle.dumps({"encoder_state": {}})[:-3]),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"encoder_state": 3}, path),
    ],
)
def test_damaged_checkpoints(damage: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "x.pth"
    torch.save(STATES, path)
    damage(path)
    assert f"{path}: " in refusal(path, capsys)


def memo_bomb() -> bytes:
    """Makes the C unpickler allocate a memo of 2^32 places."""
    return b"\x80\x02N" + b"r" + struct.pack("<I", 0xFFFFFFFF) + b"."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged"),
        (b"garbage", "damaged"),
        (b"PK\x03\x04garbage", "damaged"),
        (pickle.dumps(3), "not the settings of a training"),
        (pickle.dumps([]), "not the settings of a training"),
        (memo_bomb(), "not the settings of a training"),
        (bytes((1 << 20) + 1), "larger than any training's settings"),
    ],
)
def test_damaged_settings(data: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "x.pth"
    torch.save(STATES, path)
    (tmp_path / "args.pth").write_bytes(data)
    line = refusal(path, capsys)
    assert "args.pth: " in line
    assert message in line


def test_settings_that_unpack_to_far_more(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "x.pth"
    torch.save(STATES, path)
    zipped(tmp_path / "args.pth", pickle.dumps("0" * (4 << 20)))
    assert "larger than any training's settings" in refusal(path, capsys)
    zipped(tmp_path / "args.pth", b"")
    assert "args.pth: damaged" in refusal(path, capsys)


def test_a_checkpoint_that_unpacks_to_far_more(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    zipped(path, bytes(1 << 20))
    monkeypatch.setattr(reading, "LARGEST_CHECKPOINT", 1 << 16)
    assert path.stat().st_size < 1 << 16
    assert "unpacks to 1048576 bytes" in refusal(path, capsys)
    path.write_bytes(bytes(1 << 17))
    assert "131072 bytes is larger than any checkpoint of this kind" in refusal(path, capsys)


def test_settings_with_tensors(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "x.pth"
    torch.save(STATES, path)
    torch.save([torch.zeros(3), 1], tmp_path / "args.pth")
    assert "args.pth: refused" in refusal(path, capsys)


def test_without_torch_the_line_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(STATES, path)
    program = (
        "import sys; sys.modules['torch'] = None; from musicstar_ext.checkpoints import main; "
        "sys.exit(main(['convert', *sys.argv[1:], '--source', 'a', '--target', 'b']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(tmp_path / "o.safetensors")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == "musicstar_ext.checkpoints: error: this needs torch: pip install 'musicstar-ext[train]'\n"


def test_a_zip_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    path = tmp_path / "x.pth"
    path.write_bytes(buffer.getvalue())
    assert f"{path}: damaged" in refusal(path, capsys)
