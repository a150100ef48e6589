"""The reader of TensorFlow's checkpoints, on one that is written here from the description of the format."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from musicstar_ext.errors import UserError
from musicstar_ext.features.tensorflow_checkpoint import MAGIC, crc32c, read_tensors


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def block(entries: Mapping[bytes, bytes]) -> bytes:
    """Keys share what they can with the one before."""
    out, last = b"", b""
    for key, value in entries.items():
        shared = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + struct.pack("<II", 0, 1)


def write(folder: Path, tensors: Mapping[str, np.ndarray], kind: int = 1) -> tuple[Path, Path]:
    data, entries = b"", {b"": field(1, 1)}
    for name in sorted(tensors):
        content = tensors[name].astype("<f4").tobytes()
        shape = b"".join(field(2, field(1, size)) for size in tensors[name].shape)
        place = field(4, len(data)) if data else b""  # zeros are left out
        entry = field(1, kind) + field(2, shape) + place + field(5, len(content)) + b"\x35" + masked(content)
        entries[name.encode()] = entry
        data += content
    table, handles = b"", {}
    names = list(entries)
    for part in (names[:2], names[2:]):  # two data blocks
        body = block({name: entries[name] for name in part})
        handles[part[-1]] = varint(len(table)) + varint(len(body))
        table += body + b"\0" + masked(body + b"\0")
    places = []
    for body in (block({}), block(handles)):
        places.append(varint(len(table)) + varint(len(body)))
        table += body + b"\0" + masked(body + b"\0")
    table += b"".join(places).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    index, values = folder / ".index", folder / ".data"
    index.write_bytes(table)
    values.write_bytes(data)
    return index, values


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    shapes = {"1CNN/bias": (128,), "1CNN/kernel": (3, 3, 1, 128), "1CNN/kernel/Adam": (2,), "scalar": ()}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_the_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_there_and_back(tensors: dict[str, np.ndarray], tmp_path: Path):
    read = read_tensors(*write(tmp_path, tensors), list(tensors))
    for name, array in tensors.items():
        assert read[name].shape == array.shape
        assert np.array_equal(read[name], array)


def test_no_flipped_byte_gives_other_numbers(tensors: dict[str, np.ndarray], tmp_path: Path):
    index, data = write(tmp_path, tensors)
    for path in (index, data):
        whole = path.read_bytes()
        # The footer's padding means nothing; data blocks and handles do.
        last = len(whole) - 48 if path == index else len(whole)
        for position in range(0, last, 13 if path == index else 301):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x20]) + whole[position + 1 :])
            # What is read then is right nevertheless: the byte was in the meta index, which nothing needs.
            with contextlib.suppress(UserError):
                read = read_tensors(index, data, list(tensors))
                assert all(np.array_equal(read[name], array) for name, array in tensors.items())
        path.write_bytes(whole)


def test_every_truncation_is_noticed(tensors: dict[str, np.ndarray], tmp_path: Path):
    index, data = write(tmp_path, tensors)
    for path in (index, data):
        whole = path.read_bytes()
        for length in [0, 1, 8, 47, 48, *range(60, len(whole), 97)]:
            path.write_bytes(whole[:length])
            with pytest.raises(UserError):
                read_tensors(index, data, list(tensors))
        path.write_bytes(whole)


def test_missing_things_are_named(tensors: dict[str, np.ndarray], tmp_path: Path):
    index, data = write(tmp_path, tensors)
    with pytest.raises(UserError, match=r"\.index: holds no tensor '2CNN/bias'"):
        read_tensors(index, data, ["2CNN/bias"])
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        read_tensors(index, tmp_path / "nowhere", ["scalar"])
    write(tmp_path, tensors, kind=9)
    with pytest.raises(UserError, match="'scalar' is not float32"):
        read_tensors(index, data, ["scalar"])
