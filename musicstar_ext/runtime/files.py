"""Translating files into a file, in memory that does not grow with their length.

1. read: measure the level and the length, and find out that the whole file is sound;
   (a model with a separator then takes the recording apart, into unnamed temporary files;)
2. read again: translate into an unnamed temporary file, in float32, measuring its level;
3. read that to find its peak, scale it, write it beside the output, and rename.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from musicstar_ext.errors import UserError
from musicstar_ext.guidance import Guidance
from musicstar_ext.shaping import Shaping

from .audio_reading import AudioFile, read_blocks, read_mono
from .audio_writing import make_folder, write_audio
from .decoding import Progress
from .in_step import in_step
from .lanes import Lanes
from .level import LevelMeter
from .rendering import FileStore, Normalize, Recording, Settings, render
from .resampling import resample
from .samples import Audio
from .translator import SEPARATION_SHARE, Translator, after_separation

BLOCK = 65_536  # samples


@dataclass(frozen=True)
class FileReport:
    """What was done: `seconds` of audio in `wall_seconds`, decoded in `lanes` lanes with `guidance` and `shaping`.

    `input` is a file, or {stem: file}; `padded_seconds` is the silence after each stem that ends before the longest.
    """

    input: str | dict[str, str]
    output: str
    seconds: float
    samples: int
    wall_seconds: float
    lanes: int
    guidance: float
    shaping: float
    padded_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio a second: above 1 is faster than real time."""
        return self.seconds / self.wall_seconds


def translate_file(
    translator: Translator,
    source: AudioFile | Mapping[str, AudioFile],
    target: Path,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    lanes: Lanes = "auto",
    normalize: Normalize = "auto",
    guidance: Guidance = "auto",
    shaping: Shaping = "auto",
    progress: Progress | None = None,
) -> FileReport:
    """Translate a recording, or stems of one, into a new file `target` (and make its folder).

    Args:
        source: one file, as `Translator.translate` takes it; or {stem: file}, as `Translator.translate_stems` does.
        (others): as in `Translator.translate`.

    Raises:
        UserError: the input turns out to be bad or is not what the model hears, the model has no such guidance or
            shaping, or the output cannot be written. `target` is then as it was before.
    """
    begin = time.perf_counter()
    networks, rate = translator.networks, translator.sample_rate
    chosen, shape = translator.chosen_guidance(guidance), translator.chosen_shaping(shaping)
    if isinstance(source, AudioFile):
        networks.check_hears_mixture()
        files = {networks.source: source}
    else:
        networks.check_stems(source)
        files = dict(source)
    recordings = {track: _measured(_reader(file, rate), file.path, rate) for track, file in files.items()}
    samples = max(recording.samples for recording in recordings.values())
    lane_count = translator.engine_lanes(lanes, samples / rate, chosen)
    settings = Settings(seed, temperature, lane_count, normalize, chosen, shape)
    make_folder(target.parent)
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(source, AudioFile) and networks.separates:
                gain = translator.separator_gain(recordings[networks.source].level, normalize)
                kept_stems = {
                    stem: stack.enter_context(tempfile.TemporaryFile(dir=target.parent)) for stem in networks.stems
                }
                recordings = _separated(translator, source, gain, kept_stems, progress)
                progress = after_separation(progress)
            kept = stack.enter_context(tempfile.TemporaryFile(dir=target.parent))
            write_audio(target, render(networks, recordings, settings, FileStore(kept), progress), rate)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from None
    wall = time.perf_counter() - begin
    if isinstance(source, AudioFile):
        return FileReport(str(source.path), str(target), samples / rate, samples, wall, lane_count, chosen, shape)
    padded = {stem: (samples - recording.samples) / rate for stem, recording in recordings.items()}
    paths = {stem: str(file.path) for stem, file in source.items()}
    return FileReport(paths, str(target), samples / rate, samples, wall, lane_count, chosen, shape, padded)


def _reader(file: AudioFile, rate: int) -> Callable[[], Iterator[Audio]]:
    return lambda: resample(read_mono(file), file.rate, rate)


def _measured(blocks: Callable[[], Iterable[Audio]], path: Path, rate: int) -> Recording:
    """A file of which the level and the number of samples are known, and that all of it is sound."""
    meter, samples = LevelMeter(), 0
    for block in blocks():
        meter.update(block)
        samples += len(block)
    if not samples:
        raise UserError(f"{path}: is shorter than one sample at {rate} Hz")
    return Recording(blocks, meter.dbfs, samples)


def _separated(
    translator: Translator, source: AudioFile, gain: float, files: Mapping[str, IO[bytes]], progress: Progress | None
) -> dict[str, Recording]:
    """Take a recording apart into float32 files, one a stem."""
    meters = {stem: LevelMeter() for stem in files}
    samples = 0
    for spans in in_step(translator.separator.separate(read_blocks(source), source.rate, gain)):
        for stem, audio in spans.items():
            meters[stem].update(audio)
            files[stem].write(audio.tobytes())
        span = len(next(iter(spans.values())))
        samples += span
        if progress is not None:
            progress(SEPARATION_SHARE * span / translator.sample_rate)
    return {stem: Recording(_kept(file), meters[stem].dbfs, samples, gain) for stem, file in files.items()}


def _kept(file: IO[bytes]) -> Callable[[], Iterator[Audio]]:
    def read() -> Iterator[Audio]:
        file.seek(0)
        while data := file.read(BLOCK * 4):
            yield np.frombuffer(data, np.float32)

    return read
