"""One piece of a collection of recordings into the prepared format, as StarNet was prepared when it was published.

1. All tracks are trimmed to the shortest (the domains differ by some samples).
2. Silence is found in each track: spans of at least 1 s in which every sample of every channel stays below -40 dB of
   full scale (an amplitude of 0.01), as ffmpeg's `silencedetect=n=-40dB:d=1` finds them. Those of the quietest track,
   the one with most silence in all, are cut from every track. The cuts are plain, without a cross-fade, as published;
   here they are to the sample, there to the millisecond.
3. The tracks are brought to 16 kHz mono (the mean of the channels). Mixtures come from their own files: they are not
   the sums of their stems.

Tracks are read from disk in blocks, twice: once to find silence, once to write; memory holds one finished track.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.audio_reading import AudioFile, open_audio, read_blocks
from musicstar_ext.runtime.resampling import resample, resampled_length
from musicstar_ext.runtime.samples import Audio, mono, with_channels

from .prepared import FULL_RATE
from .prepared_writer import write_piece

SAMPLE_RATE = 16_000
FULL_SAMPLE_RATE = 44_100
FULL_CHANNELS = 2
SILENCE = -40.0  # dB of full scale
LEAST_SILENCE = 1.0  # seconds
RECIPE = 1  # raised when the same options make other samples
UNUSUAL_TRIM = 0.5  # seconds; the tracks of a piece usually differ by less than a millisecond

Span = tuple[int, int]  # first sample, and the one after the last


class BadPieceError(UserError):
    """A piece's recordings are at fault; the others can go on."""


@dataclass(frozen=True)
class PieceOptions:
    """What the samples of a piece depend on, besides its recordings.

    Attributes:
        silence: what is below this many dB of full scale is silence; None cuts nothing.
        least_silence: seconds that are cut when they are silent, at the least.
        recipe: the version of this module's steps.
    """

    silence: float | None = SILENCE
    least_silence: float = LEAST_SILENCE
    recipe: int = RECIPE

    def described(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Source:
    """A recording on disk: one track of a piece. `label` is how messages name it, `name` and `size` tell it again."""

    path: Path
    label: str
    name: str
    size: int


@dataclass(frozen=True)
class PreparedPiece:
    """A piece that was written: its entry in the set, in the full-rate copy (None: not asked for), and remarks."""

    entry: dict[str, Any]
    full_rate: dict[str, Any] | None
    remarks: list[str]


def prepare_piece(
    name: str, sources: Mapping[str, Source], options: PieceOptions, output: Path, full_rate: bool
) -> PreparedPiece:
    """Write one piece into `output`, and into its full-rate copy.

    Args:
        sources: {track: its recording}, for every track.

    Raises:
        BadPieceError: a recording is damaged, has another sample rate than the others, or nothing is left of them.
        UserError: the output cannot be written, or a full-rate copy is asked for and the recordings have less.
    """
    files = {track: _opened(source) for track, source in sources.items()}
    rates = {file.rate for file in files.values()}
    if len(rates) > 1:
        odd = ", ".join(f"{sources[track].name} has {file.rate} Hz" for track, file in files.items())
        raise BadPieceError(f"the recordings have different sample rates: {odd}")
    (rate,) = rates
    if full_rate and rate < FULL_SAMPLE_RATE:
        label = next(iter(sources.values())).label
        raise UserError(f"{label}: has {rate} Hz, below the {FULL_SAMPLE_RATE} Hz of a full-rate copy: leave it out")
    lengths, silences = {}, {}
    for track, file in files.items():
        lengths[track], silences[track] = _silence(sources[track], file, options)
    shortest = min(lengths.values())
    cuts = quietest({track: within(spans, shortest, _least(options, rate)) for track, spans in silences.items()})
    kept = complement(cuts, shortest)
    left = sum(stop - start for start, stop in kept)
    if not left:
        silent = max(silences, key=lambda track: sum(stop - start for start, stop in silences[track]))
        raise BadPieceError(f"nothing is left: {sources[silent].label} is silent throughout")
    trimmed = round((max(lengths.values()) - shortest) / rate, 3)
    details = {
        "sources": {track: [source.name, source.size] for track, source in sources.items()},
        "options": options.described(),
        "source_rate": rate,
        "trimmed_seconds": trimmed,
        "cut_seconds": round((shortest - left) / rate, 3),
    }
    remarks = []
    if trimmed > UNUSUAL_TRIM:
        remarks.append(f"its tracks differ in length by {trimmed:g} s; trimmed to the shortest")
    copy = None
    if full_rate:
        tracks = _Tracks(sources, files, kept, FULL_SAMPLE_RATE, FULL_CHANNELS)
        copy = write_piece(output / FULL_RATE, name, tracks, FULL_SAMPLE_RATE, details)
    tracks = _Tracks(sources, files, kept, SAMPLE_RATE, 1)
    entry = write_piece(output, name, tracks, SAMPLE_RATE, details)
    clipped = {track: count for track, count in tracks.clipped.items() if count}
    if clipped:
        remarks.append(f"samples beyond full scale, which are clipped: {clipped}")
    return PreparedPiece(entry, copy, remarks)


def silent_spans(blocks: Iterable[Audio], threshold: float, least: int) -> Iterator[Span]:
    """Spans of at least `least` samples in which all channels of [n, channels] blocks stay below an amplitude."""
    position, start = 0, None
    for block in blocks:
        silent: NDArray[np.bool_] = np.all(np.abs(block) < threshold, axis=1)
        edges = np.flatnonzero(np.diff(silent, prepend=start is not None, append=silent[-1])) + position
        for edge in edges.tolist():
            if start is None:
                start = edge
            else:
                if edge - start >= least:
                    yield start, edge
                start = None
        position += len(block)
    if start is not None and position - start >= least:
        yield start, position


def within(spans: Iterable[Span], length: int, least: int) -> list[Span]:
    """What of some spans lies in the first `length` samples, and is still at least `least` long."""
    clipped = [(start, min(stop, length)) for start, stop in spans]
    return [(start, stop) for start, stop in clipped if stop - start >= max(least, 1)]


def quietest(silences: Mapping[str, list[Span]]) -> list[Span]:
    """The spans of the track that has most silence in all; the first such track, where there are several."""
    return max(silences.values(), key=lambda spans: sum(stop - start for start, stop in spans))


def complement(cuts: Iterable[Span], length: int) -> list[Span]:
    """The spans between some others, from 0 to `length`."""
    edges = [0, *itertools.chain.from_iterable(cuts), length]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop > start]


def _opened(source: Source) -> AudioFile:
    try:
        return open_audio(source.path)
    except UserError as error:
        raise _about(source, error) from None


def _about(source: Source, error: UserError) -> BadPieceError:
    """The same error under the name that the user knows: members of archives lie elsewhere for a while."""
    problem = str(error)
    known = problem.replace(str(source.path), source.label)
    return BadPieceError(known if known != problem else f"{source.label}: {problem}")


def _least(options: PieceOptions, rate: int) -> int:
    return round(options.least_silence * rate)


def _silence(source: Source, file: AudioFile, options: PieceOptions) -> tuple[int, list[Span]]:
    """How long a recording is, and where it is silent."""
    length = 0

    def counted() -> Iterator[Audio]:
        nonlocal length
        for block in read_blocks(file):
            length += len(block)
            yield block

    try:
        if options.silence is None:
            return sum(len(block) for block in read_blocks(file)), []
        spans = list(silent_spans(counted(), 10 ** (options.silence / 20), _least(options, file.rate)))
        return length, spans
    except UserError as error:
        raise _about(source, error) from None


class _Tracks(Mapping[str, NDArray[np.int16]]):
    """Tracks that are made when they are asked for: read, cut, resampled.

    Attributes:
        clipped: {track: samples beyond full scale}, of those that were made.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        files: Mapping[str, AudioFile],
        kept: list[Span],
        rate: int,
        channels: int,
    ) -> None:
        self._sources, self._files, self._kept = sources, files, kept
        self._rate, self._channels = rate, channels
        self.clipped: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, track: str) -> NDArray[np.int16]:
        file = self._files[track]
        total = resampled_length(sum(stop - start for start, stop in self._kept), file.rate, self._rate)
        samples = np.empty((total, self._channels) if self._channels > 1 else total, np.int16)
        done = clipped = 0
        try:
            blocks = (self._mixed(block, position) for position, block in self._cut(file))
            # In `resample`, no number of channels means blocks of one dimension.
            for block in resample(blocks, file.rate, self._rate, self._channels if self._channels > 1 else 0):
                scaled = np.rint(block * np.float32(32768))
                clipped += int(np.count_nonzero((scaled > 32767) | (scaled < -32768)))
                samples[done : done + len(block)] = np.clip(scaled, -32768, 32767)
                done += len(block)
        except UserError as error:
            raise _about(self._sources[track], error) from None
        if done != total:
            raise BadPieceError(f"{self._sources[track].label}: changed while it was read")
        self.clipped[track] = clipped
        return samples

    def _mixed(self, block: Audio, position: int) -> Audio:
        return mono(block, position) if self._channels == 1 else with_channels(block, self._channels, position)

    def _cut(self, file: AudioFile) -> Iterator[tuple[int, Audio]]:
        """The kept samples of a recording in blocks, each with its position in it."""
        position, spans = 0, iter(self._kept)
        span = next(spans, None)
        for block in read_blocks(file):
            end = position + len(block)
            while span is not None and span[0] < end:
                start, stop = max(span[0], position), min(span[1], end)
                yield start, block[start - position : stop - position]
                if span[1] > end:
                    break
                span = next(spans, None)
            position = end
