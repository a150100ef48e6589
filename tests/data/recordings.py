"""A miniature collection of recordings in the form that StarNet is published in."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 44_100
SECONDS = 2.0
SILENT = (0.5, 1.75)  # seconds, of the piano of every piece
FILES = {
    "0": "clarinet-vibraphone",
    "1": "clarinet",
    "2": "vibraphone",
    "3": "strings-piano",
    "4": "strings",
    "5": "piano",
}
OVERTONES = {"4": 2, "5": 3, "1": 5, "2": 4}  # which one each stem has: its timbre


def melody(seed: int, seconds: float, overtone: int, rate: int, note: float = 0.25) -> NDArray[np.float32]:
    """[N]: random notes with one overtone, each dying away; the same seed plays the same notes."""
    count = round(seconds * rate)
    notes = 220 * 2 ** (np.random.default_rng(seed).integers(0, 24, int(seconds / note) + 1) / 12)
    held = np.repeat(notes, round(note * rate))[:count]
    phase = 2 * np.pi * np.cumsum(held) / rate
    decay = np.tile(np.exp(-3 * np.linspace(0, 1, round(note * rate))), len(notes))[:count]
    return (0.25 * decay * (np.sin(phase) + 0.5 * np.sin(overtone * phase))).astype(np.float32)


def piece_files(number: int, seconds: float = SECONDS, rate: int = RATE) -> dict[str, NDArray[np.float32]]:
    """{code: [N, 2]} of one piece; tracks differ in length by some samples, mixtures are not sums of their stems."""
    stems = {code: melody(10 * number + (code in "52"), seconds, OVERTONES[code], rate) for code in "1245"}
    stems["5"][round(SILENT[0] * rate) : round(SILENT[1] * rate)] *= 0.005
    audio = {**stems, "0": 0.9 * stems["1"] + 0.7 * stems["2"], "3": 0.6 * stems["4"] + 1.1 * stems["5"]}
    wide = {code: np.stack([0.8 * mono, mono], axis=1) for code, mono in audio.items()}
    return {code: wide[code][: len(wide[code]) - 7 * int(code)] for code in sorted(wide)}


def make_collection(folder: Path, pieces: int = 3, **how: float) -> Path:
    """001.0.wav and so on, 16-bit stereo."""
    folder.mkdir(parents=True)
    for number in range(1, pieces + 1):
        for code, audio in piece_files(number, **how).items():
            soundfile.write(folder / f"{number:03}.{code}.wav", audio, RATE, subtype="PCM_16")
    return folder


def pack(files: Sequence[Path], archive: Path, folder: str = "starnet-p1") -> Path:
    """A gzipped tar archive of some files, in the order given."""
    return write_archive(archive, lambda tar: [tar.add(path, f"{folder}/{path.name}") for path in files])


def pack_parts(collection: Path, place: Path) -> list[Path]:
    """Two archives, over which the files of every piece are scattered."""
    files = sorted(collection.iterdir())
    random.Random(1).shuffle(files)
    half = len(files) // 2
    parts = (files[:half], files[half:])
    return [
        pack(part, place / f"part{number}.tar.gz", f"starnet-p{number}") for number, part in enumerate(parts, start=1)
    ]


def write_archive(archive: Path, fill: Callable[[tarfile.TarFile], object]) -> Path:
    """A gzipped tar archive that `fill` fills."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        fill(tar)
    archive.write_bytes(gzip.compress(packed.getvalue(), 1))
    return archive


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too: {path: contents}."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if not path.is_dir()}
