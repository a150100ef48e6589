"""16-bit WAV files, mono or stereo: where their samples lie, so that they can be memory-mapped, and how to write them.

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
    """Where the samples of a 16-bit WAV file lie."""

    path: Path
    offset: int  # bytes
    count: int  # samples of each channel
    sample_rate: int
    channels: int

    def memory_map(self) -> NDArray[np.int16]:
        """[count] int16, of two channels [count, 2]; read-only, read from the disk when touched."""
        shape = (self.count,) if self.channels == 1 else (self.count, self.channels)
        if not self.count:  # an empty span cannot be mapped
            return np.zeros(shape, np.int16)
        try:
            return np.memmap(self.path, "<i2", "r", self.offset, shape)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path}: cannot be memory-mapped: {error}") from None


def find_samples(path: Path) -> WavSamples:
    """Read the header of a 16-bit WAV file with one or two channels.

    Raises:
        UserError: the file is missing, no WAV, of another kind, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            riff = file.read(12)
            if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
                raise UserError(f"{path}: not a WAV file")
            sample_rate = channels = 0
            for _ in range(MOST_CHUNKS):
                header = file.read(8)
                if len(header) < 8:
                    break
                name, length = struct.unpack("<4sI", header)
                start = file.tell()
                if name == b"fmt ":
                    sample_rate, channels = _layout(path, file.read(min(length, 40)))
                elif name == b"data":
                    if not sample_rate:
                        raise UserError(f"{path}: a damaged WAV file (no format before the samples)")
                    if length % (2 * channels):
                        problem = f"{length} bytes of 16-bit samples, {channels} channel{'s' * (channels > 1)}"
                        raise UserError(f"{path}: a damaged WAV file ({problem})")
                    if start + length > size:
                        raise UserError(f"{path}: truncated: {size - start} bytes of samples, the header says {length}")
                    return WavSamples(path, start, length // (2 * channels), sample_rate, channels)
                file.seek(start + length + length % 2)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    raise UserError(f"{path}: a damaged WAV file (no samples)")


def write_wav(path: Path, samples: NDArray[np.int16], sample_rate: int) -> None:
    """Write [N] or [N, 2] samples as a 16-bit WAV file.

    Not atomic: the caller renames the whole folder.

    Raises:
        UserError: longer than a WAV file can be (4 GiB).
        OSError: the file cannot be written.
    """
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if channels not in (1, 2) or samples.ndim > 2:
        raise ValueError(f"samples must be [N] or [N, 2], not {samples.shape}")
    length = samples.size * 2
    if length + 36 >= 2**32:
        raise UserError(f"{path}: too long for a WAV file ({length} bytes of samples)")
    layout = struct.pack("<HHIIHH", PCM, channels, sample_rate, 2 * channels * sample_rate, 2 * channels, 16)
    header = struct.pack("<4sI4s4sI", b"RIFF", 36 + length, b"WAVE", b"fmt ", 16)
    with path.open("wb") as file:
        file.write(header + layout + struct.pack("<4sI", b"data", length))
        file.write(np.ascontiguousarray(samples, "<i2").data)


def _layout(path: Path, layout: bytes) -> tuple[int, int]:
    """Check a `fmt ` chunk and return its sample rate and number of channels."""
    if len(layout) < 16:
        raise UserError(f"{path}: a damaged WAV file (its format is cut off)")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", layout[:16])
    if tag == EXTENSIBLE and len(layout) >= 26:
        (tag,) = struct.unpack("<H", layout[24:26])
    if tag != PCM or bits != 16 or channels not in (1, 2) or not rate:
        kind = f"{bits}-bit" if tag == PCM else f"format {tag:#x}, {bits}-bit"
        raise UserError(f"{path}: must be 16-bit PCM with one or two channels, not {kind} with {channels}")
    return rate, channels
