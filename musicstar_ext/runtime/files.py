"""Translating one file into another, in memory that does not grow with its length.

1. read: measure the level and the length, and find out that the whole file is sound;
2. read again: translate into an unnamed temporary file, in float32, measuring its level and peak;
3. scale that to the input's level, write it beside the output, and rename.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from musicstar_ext.errors import UserError

from .audio_reading import AudioFile, read_mono
from .audio_writing import make_folder, write_audio
from .gain import input_gain, output_gain
from .lanes import Lanes, choose_lanes
from .level import LevelMeter
from .resampling import resample
from .samples import Audio
from .translator import Normalize, Progress, Translator

BLOCK = 65_536  # samples


@dataclass(frozen=True)
class FileReport:
    """What was done: `seconds` of audio in `wall_seconds`, decoded in `lanes` lanes."""

    input: str
    output: str
    seconds: float
    samples: int
    wall_seconds: float
    lanes: int

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio a second: above 1 is faster than real time."""
        return self.seconds / self.wall_seconds


def translate_file(
    translator: Translator,
    source: AudioFile,
    target: Path,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    lanes: Lanes = "auto",
    normalize: Normalize = "auto",
    progress: Progress | None = None,
) -> FileReport:
    """Translate `source` into a new file `target` (and make its folder); arguments as in `Translator.translate`.

    Raises:
        UserError: the input turns out to be bad, or the output cannot be written. `target` is then as it was before.
    """
    begin = time.perf_counter()
    rate = translator.sample_rate
    level, samples, _ = _measure(resample(read_mono(source), source.rate, rate))
    if not samples:
        raise UserError(f"{source.path}: is shorter than one sample at {rate} Hz")
    count = choose_lanes(lanes, samples / rate, translator.engine.threads)
    before = input_gain(level, translator.level("source")) if normalize == "auto" else 1.0
    make_folder(target.parent)
    if normalize == "auto" and not math.isfinite(level):
        write_audio(target, _silence(samples), rate)
    else:
        audio = resample(read_mono(source), source.rate, rate)
        decoded = translator.decode(audio, before, seed, temperature, count, progress)
        try:
            with tempfile.TemporaryFile(dir=target.parent) as kept:
                decoded_level, _, peak = _measure(_keep(decoded, kept))
                after = output_gain(decoded_level, level, peak) if normalize == "auto" else 1.0
                write_audio(target, _kept(kept, after), rate)
        except OSError as error:
            raise UserError(f"{target}: cannot be written: {error.strerror or error}") from None
    wall = time.perf_counter() - begin
    return FileReport(str(source.path), str(target), samples / rate, samples, wall, count)


def _measure(blocks: Iterable[Audio]) -> tuple[float, int, float]:
    """Gated level (dBFS), number of samples, and peak."""
    meter, count, peak = LevelMeter(), 0, 0.0
    for block in blocks:
        meter.update(block)
        count += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    return meter.dbfs, count, peak


def _keep(blocks: Iterable[Audio], file: IO[bytes]) -> Iterator[Audio]:
    for block in blocks:
        file.write(block.tobytes())
        yield block


def _kept(file: IO[bytes], gain: float) -> Iterator[Audio]:
    file.seek(0)
    while data := file.read(BLOCK * 4):
        yield np.frombuffer(data, np.float32) * np.float32(gain)


def _silence(samples: int) -> Iterator[Audio]:
    for start in range(0, samples, BLOCK):
        yield np.zeros(min(BLOCK, samples - start), np.float32)
