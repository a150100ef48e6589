"""16-bit mono WAV files: where their samples lie, so that they can be memory-mapped, and how to write them.

A WAV file is RIFF: 12 bytes (`RIFF`, size, `WAVE`), then chunks of (4 letters, 32-bit size, data, padded to an even
length). Other chunks may come before `fmt ` and `data`, so the samples start anywhere.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError

PCM = 1
EXTENSIBLE = 0xFFFE  # the format's tag is then the first two bytes of a GUID at the end of `fmt `
MOST_CHUNKS = 64


@dataclass(frozen=True)
class WavSamples:
    """Where the samples of a 16-bit mono WAV file lie."""

    path: Path
    offset: int  # bytes
    count: int  # samples
    sample_rate: int

    def memory_map(self) -> NDArray[np.int16]:
        """[count] int16, read-only, read from the disk when touched."""
        if not self.count:  # an empty span cannot be mapped
            return np.zeros(0, np.int16)
        try:
            return np.memmap(self.path, "<i2", "r", self.offset, (self.count,))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path}: cannot be memory-mapped: {error}") from None


def find_samples(path: Path) -> WavSamples:
    """Read the header of a 16-bit mono WAV file.

    Raises:
        UserError: the file is missing, no WAV, of another kind, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            riff = file.read(12)
            if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
                raise UserError(f"{path}: not a WAV file")
            sample_rate = 0
            for _ in range(MOST_CHUNKS):
                header = file.read(8)
                if len(header) < 8:
                    break
                name, length = struct.unpack("<4sI", header)
                start = file.tell()
                if name == b"fmt ":
                    sample_rate = _sample_rate(path, file.read(min(length, 40)))
                elif name == b"data":
                    if not sample_rate:
                        raise UserError(f"{path}: a damaged WAV file (no format before the samples)")
                    if length % 2:
                        raise UserError(f"{path}: a damaged WAV file ({length} bytes of 16-bit samples)")
                    if start + length > size:
                        raise UserError(f"{path}: truncated: {size - start} bytes of samples, the header says {length}")
                    return WavSamples(path, start, length // 2, sample_rate)
                file.seek(start + length + length % 2)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    raise UserError(f"{path}: a damaged WAV file (no samples)")


def write_wav(path: Path, samples: NDArray[np.int16], sample_rate: int) -> None:
    """Write [N] samples as a 16-bit mono WAV file. Raises OSError; not atomic: the caller renames the whole folder."""
    data = np.ascontiguousarray(samples, "<i2").tobytes()
    layout = struct.pack("<HHIIHH", PCM, 1, sample_rate, 2 * sample_rate, 2, 16)
    header = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16)
    path.write_bytes(header + layout + struct.pack("<4sI", b"data", len(data)) + data)


def _sample_rate(path: Path, layout: bytes) -> int:
    """Check a `fmt ` chunk and return its sample rate."""
    if len(layout) < 16:
        raise UserError(f"{path}: a damaged WAV file (its format is cut off)")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", layout[:16])
    if tag == EXTENSIBLE and len(layout) >= 26:
        (tag,) = struct.unpack("<H", layout[24:26])
    if tag != PCM or bits != 16 or channels != 1 or not rate:
        kind = f"{bits}-bit" if tag == PCM else f"format {tag:#x}, {bits}-bit"
        raise UserError(f"{path}: must be 16-bit PCM with one channel, not {kind} with {channels}")
    return rate
