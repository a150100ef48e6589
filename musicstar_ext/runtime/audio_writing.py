"""Audio files written whole or not at all: beside their place first, then renamed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import soundfile

from musicstar_ext.atomic import replacing
from musicstar_ext.errors import UserError

from .samples import Audio

# What a name's suffix asks for: libsndfile's format and subtype.
FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


def check_target(path: Path) -> None:
    """Find out before any work whether an audio file can appear at `path`.

    Raises:
        UserError: the suffix names no known format, the path is a folder, or its folder is missing or not writable.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: the output's name must end in {', '.join(FORMATS)}")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raises UserError where `path` is a folder, or a file cannot be made beside it."""
    try:
        if path.is_dir():
            raise UserError(f"{path}: the output is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def make_folder(path: Path) -> None:
    """Make an output folder and those above it. Raises UserError where that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: the folder cannot be made: {error.strerror or error}") from None


def write_audio(path: Path, blocks: Iterable[Audio], sample_rate: int) -> None:
    """Write [n] float32 blocks as one channel, in the format that the suffix names (WAV and FLAC with 16 bits).

    Samples past full scale are clipped. Nothing is left behind when a block cannot be had or written.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    container, subtype = FORMATS[path.suffix.lower()]
    try:
        with (
            replacing(path) as descriptor,
            soundfile.SoundFile(
                descriptor, "w", sample_rate, 1, format=container, subtype=subtype, closefd=False
            ) as file,
        ):
            for block in blocks:
                file.write(block)
    except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts that all was written
        raise UserError(f"{path}: cannot be written: {str(error) or 'the disk may be full'}") from None
