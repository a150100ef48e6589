"""Sound fonts without a sound: what a program sees that only reads their list of presets."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path


def write_fake_font(path: Path, programs: Iterable[int] = range(128)) -> Path:
    """A SoundFont 2 file with empty presets of bank 0, and drums in bank 128."""
    presets = [(program, 0) for program in programs] + [(0, 128), (0, 0)]  # the last one marks the end
    records = b"".join(struct.pack("<20sHHHIII", b"preset", *preset, 0, 0, 0, 0) for preset in presets)
    lists = _chunk(b"LIST", b"INFO" + _chunk(b"ifil", struct.pack("<HH", 2, 4)) + _chunk(b"INAM", b"odd"))
    lists += _chunk(b"LIST", b"sdta") + _chunk(b"LIST", b"pdta" + _chunk(b"phdr", records))
    path.write_bytes(_chunk(b"RIFF", b"sfbk" + lists))
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", name, len(data)) + data + b"\0" * (len(data) % 2)
