"""Reading the tensors of a TensorFlow checkpoint without TensorFlow.

A checkpoint ("tensor bundle") is an index and data files. The index is a table of sorted keys as in LevelDB:

    data block ... | index block | footer (48 bytes: two block handles as varints, padding, 8 bytes of magic)
    block = entries | restart offsets, uint32 each | their number, uint32 || compression (1 byte) | checksum (4 bytes)
    entry = shared, not shared, value length (varints) | the part of the key that differs from the last one | value

The index block's values are the handles (offset, size) of the data blocks. Theirs are protocol buffers: a tensor's
type, shape, offset and size in the data file, and checksum; under the empty key stands a header. Only what this project
needs is read: one uncompressed shard of little-endian float32. (`tensorflow/core/util/tensor_bundle`, `lib/io/table`.)
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes
TRAILER = 5  # bytes after a block
FLOAT32 = 1  # TensorFlow's number for the type
LARGEST_INDEX, LARGEST_DATA = 1 << 20, 1 << 30  # bytes

Fields = dict[int, list[int | bytes]]


def read_tensors(index: Path, data: Path, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The named float32 tensors of a checkpoint, each checked against its checksum.

    Raises:
        UserError: a file is missing, damaged or not of this kind, or a tensor is not in it.
    """
    table, stored = _read(index, LARGEST_INDEX), _read(data, LARGEST_DATA)
    try:
        entries = dict(_entries(table))
        tensors = {}
        for name in names:
            if name.encode() not in entries:
                raise UserError(f"{index}: holds no tensor {name!r}")
            tensors[name] = _tensor(_fields(entries[name.encode()]), stored, name)
    except UserError as error:
        line = str(error)
        raise UserError(line if str(index) in line else f"{data}: {line}") from None
    except (IndexError, KeyError, TypeError, ValueError, struct.error):
        raise UserError(f"{index}: not the index of a TensorFlow checkpoint, or a damaged one") from None
    return tensors


def _read(path: Path, largest: int) -> bytes:
    try:
        if path.stat().st_size > largest:
            raise UserError(f"{path}: is too large for such a file")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _tensor(fields: Fields, stored: bytes, name: str) -> NDArray[np.float32]:
    if fields[1] != [FLOAT32] or fields.get(3, [0]) != [0]:
        raise UserError(f"tensor {name!r} is not float32 in the first data file")
    shape = []
    for dimension in _fields(_bytes(fields[2][0])).get(2, []):
        shape.append(_number(_fields(_bytes(dimension)).get(1, [0])[0]))
    offset, size = _number(fields.get(4, [0])[0]), _number(fields[5][0])
    content = stored[offset : offset + size]
    if len(content) != size or size != 4 * int(np.prod(shape, dtype=np.int64)):
        raise UserError(f"truncated: tensor {name!r} is not all there")
    if _unmask(_number(fields[6][0])) != crc32c(content):
        raise UserError(f"damaged: tensor {name!r} has another checksum than it should")
    return np.frombuffer(content, "<f4").reshape(shape).astype(np.float32)


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All (key, value) of the table's data blocks."""
    if len(table) < FOOTER or int.from_bytes(table[-8:], "little") != MAGIC:
        raise ValueError("no magic number at the end")
    footer, position = table[-FOOTER:], 0
    handle = []
    for _ in range(4):  # offset and size of the meta index, which is empty, and of the index
        number, position = _varint(footer, position)
        handle.append(number)
    for _, value in _block(table, handle[2], handle[3]):
        offset, after = _varint(value, 0)
        size, _ = _varint(value, after)
        yield from _block(table, offset, size)


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block = table[offset : offset + size]
    trailer = table[offset + size : offset + size + TRAILER]
    if len(block) != size or len(trailer) != TRAILER or trailer[0] != 0:
        raise ValueError("a block is cut off or compressed")
    if _unmask(int.from_bytes(trailer[1:], "little")) != crc32c(block + trailer[:1]):
        raise ValueError("a block is damaged")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 - 4 * restarts
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        rest, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + rest]
        position += rest
        yield key, block[position : position + length]
        position += length


def _fields(message: bytes) -> Fields:
    """A protocol buffer's fields by number: varints and 32-bit numbers as int, the rest as bytes."""
    fields: Fields = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value, position = int.from_bytes(message[position : position + length], "little"), position + length
        else:
            raise ValueError("an unknown kind of field")
        if position > len(message):
            raise ValueError("a field is cut off")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise TypeError("a message where a number belongs")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number where a message belongs")
    return value


def _unmask(checksum: int) -> int:
    """Checksums are stored rotated and shifted, so that a checksum of data with checksums in it is no trivial one."""
    rotated = (checksum - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (polynomial 0x1EDC6F41, reflected) of `data`."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@functools.cache
def _crc_table() -> list[int]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table
