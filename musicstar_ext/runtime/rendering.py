"""A whole translation with its levels kept: input levels -> `pipeline.decode` -> output levels.

Each track is brought to the level that the model was trained at, and its translation (the sum of its branches) back to
the track's own. So a mixture keeps its level, and stems keep their balance. Then the tracks are summed, and all lowered
alike where the sum would pass full scale. Silent tracks stay silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Literal, Protocol

import numpy as np

from .decoding import Progress
from .gain import input_gain, limited_gains, mix, output_gain
from .level import LevelMeter, gated_level_dbfs
from .networks import Networks
from .pipeline import decode
from .samples import Audio

Normalize = Literal["auto", "off"]
Spans = dict[str, Audio]  # {track that has not ended: [n]}, of one n

BLOCK = 65_536  # samples


@dataclass(frozen=True)
class Settings:
    """How to translate, checked by `options.check_options`."""

    seed: int
    temperature: float
    lanes: int
    normalize: Normalize
    guidance: float = 1.0
    shaping: float = 0.0


@dataclass(frozen=True)
class Recording:
    """A track at 16 kHz that can be read more than once.

    Attributes:
        blocks: starts to read it from its beginning.
        level: its gated level in dBFS.
        samples: their number.
        gain: what it has been multiplied with, and its translation is not to be.
    """

    blocks: Callable[[], Iterable[Audio]]
    level: float
    samples: int
    gain: float = 1.0

    @staticmethod
    def of(audio: Audio, gain: float = 1.0) -> Recording:
        """One that lies in memory."""
        return Recording(lambda: [audio], gated_level_dbfs(audio), len(audio), gain)

    @property
    def wanted_level(self) -> float:
        """The level that its translation is to have."""
        return self.level - 20 * math.log10(self.gain)


class Store(Protocol):
    """Keeps what was decoded until its level is known."""

    def write(self, spans: Spans) -> None: ...
    def read(self) -> Iterator[Spans]: ...
    def levels(self) -> dict[str, float]: ...


class MemoryStore:
    """For a translation that fits in memory, as its caller's recording did."""

    def __init__(self) -> None:
        self._spans: list[Spans] = []

    def write(self, spans: Spans) -> None:
        self._spans.append(spans)

    def levels(self) -> dict[str, float]:
        pieces: dict[str, list[Audio]] = {}
        for spans in self._spans:
            for track, audio in spans.items():
                pieces.setdefault(track, []).append(audio)
        return {track: gated_level_dbfs(np.concatenate(audio)) for track, audio in pieces.items()}

    def read(self) -> Iterator[Spans]:
        yield from self._spans


class FileStore:
    """For a translation of any length: float32 in a file that is open for reading and writing."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._meters: dict[str, LevelMeter] = {}

    def write(self, spans: Spans) -> None:
        for track, audio in spans.items():
            self._meters.setdefault(track, LevelMeter()).update(audio)
        rows = np.zeros((len(next(iter(spans.values()))), len(self._meters)), np.float32)
        for column, track in enumerate(self._meters):
            if track in spans:  # otherwise it has ended: silence
                rows[:, column] = spans[track]
        self._file.write(rows.tobytes())

    def levels(self) -> dict[str, float]:
        return {track: meter.dbfs for track, meter in self._meters.items()}

    def read(self) -> Iterator[Spans]:
        tracks = list(self._meters)
        if not tracks:
            return
        self._file.seek(0)
        while data := self._file.read(BLOCK * 4 * len(tracks)):
            yield dict(zip(tracks, np.frombuffer(data, np.float32).reshape(-1, len(tracks)).T, strict=True))


def render(
    networks: Networks,
    recordings: Mapping[str, Recording],
    settings: Settings,
    store: Store,
    progress: Progress | None = None,
) -> Iterator[Audio]:
    """Translate recordings of tracks that sound together; all is decoded into `store` before this returns.

    Returns:
        The translation in blocks of [n] float32; in all as many samples as the longest recording has.
    """
    auto = settings.normalize == "auto"
    sounding = {track: each for track, each in recordings.items() if not auto or math.isfinite(each.level)}
    if sounding:
        blocks = {track: each.blocks() for track, each in sounding.items()}
        before = dict.fromkeys(sounding, 1.0)
        if auto:
            before = {track: input_gain(each.level, networks.levels[track]) for track, each in sounding.items()}
        how = (settings.seed, settings.temperature, settings.lanes, progress, settings.guidance, settings.shaping)
        for spans in decode(networks, blocks, before, *how):
            store.write(spans)
    gains = {track: 1 / each.gain for track, each in sounding.items()}
    if auto:
        levels = store.levels()
        gains = {track: output_gain(levels[track], each.wanted_level) for track, each in sounding.items()}
        gains = limited_gains(gains, store.read())
    return _mixed(store, gains, max(each.samples for each in recordings.values()))


def _mixed(store: Store, gains: Mapping[str, float], samples: int) -> Iterator[Audio]:
    given = 0
    for spans in store.read():
        audio = mix(spans, gains)
        given += len(audio)
        yield audio
    for start in range(given, samples, BLOCK):  # after the last track that sounds
        yield np.zeros(min(BLOCK, samples - start), np.float32)
