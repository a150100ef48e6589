"""Audio files, read block by block with libsndfile; every way in which a file can be bad is one clear line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile

from musicstar_ext.errors import UserError

from .resampling import check_rate
from .samples import Audio, mono

BLOCK = 65_536  # frames read at once

# What libsndfile notes about the audio chunk of WAV, AIFF, AU, W64 and RF64 files that end before it does.
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFF0000  # sizes from here on are what programs write into a pipe, before they know better
_UNKNOWN_FRAMES = 1 << 60


@dataclass(frozen=True)
class AudioFile:
    """A file whose header has been read: it promises `frames` samples a channel, at `rate` hertz."""

    path: Path
    rate: int
    frames: int
    format: str


def open_audio(path: Path) -> AudioFile:
    """Read and check the header.

    Raises:
        UserError: no such file, not a file, empty, not audio, truncated, without samples, or of an odd sample rate.
    """
    with _open(path) as file:
        audio = AudioFile(path, file.samplerate, file.frames, file.format)
        for promised, found in _SHORT_CHUNK.findall(file.extra_info):
            if int(found) < int(promised) < _UNKNOWN_SIZE:
                raise UserError(f"{path}: truncated: {promised} bytes of audio promised, {found} found")
    if audio.frames == 0:
        raise UserError(f"{path}: holds no samples")
    try:
        check_rate(audio.rate)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return audio


def read_mono(audio: AudioFile) -> Iterator[Audio]:
    """All samples, down-mixed, in [n] float32 blocks of at most `BLOCK`.

    Raises:
        UserError: damaged or truncated audio, or a sample that is NaN or infinite.
    """
    position = 0
    for block in read_blocks(audio):
        try:
            yield mono(block, first=position)
        except UserError as error:
            raise UserError(f"{audio.path}: {error}") from None
        position += len(block)


def read_blocks(audio: AudioFile) -> Iterator[Audio]:
    """All samples of all channels, unchecked, in [n, channels] float32 blocks of at most `BLOCK`.

    Raises:
        UserError: damaged or truncated audio.
    """
    position = 0
    with _open(audio.path) as file:
        while True:
            try:
                block = file.read(BLOCK, dtype="float32", always_2d=True)
            except soundfile.SoundFileError:
                raise UserError(
                    f"{audio.path}: damaged or truncated after {position} of {audio.frames} samples"
                ) from None
            if not len(block):
                break
            yield block
            position += len(block)
    # An MP3's length may be an estimate; any other format knows.
    enough = 0.95 * audio.frames if audio.format == "MP3" else audio.frames
    if position < enough and audio.frames < _UNKNOWN_FRAMES:
        raise UserError(f"{audio.path}: truncated: {audio.frames} samples promised, {position} found")


def _open(path: Path) -> soundfile.SoundFile:
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not an audio file")
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if not path.is_file():
            raise UserError(f"{path}: not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{path}: is empty")
        return soundfile.SoundFile(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (soundfile.SoundFileError, TypeError, ValueError):
        raise UserError(f"{path}: not an audio file that libsndfile can read") from None
