"""Random crops of a prepared set, the same span from several tracks, as mu-law codes or as audio.

The batch of a step is a pure function of (seed, step): a resumed training needs no state to go on with exactly the
crops that it would have seen, a fixed seed makes fixed crops for validation, and processes that share a batch agree on
it without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.core import core

from .augmentation import Shifts, draw_shifts, shift_spans
from .prepared import PreparedSet
from .rolls import NoteRolls

Kind = Literal["codes", "audio"]
Crop = NDArray[Any]  # uint8 [B, T] codes, or float32 [B, channels, T] audio

SILENCE = 127  # the mu-law code of 0
AUGMENTED = "{} augmented"  # the name of a track's pitch-shifted twin


@cache
def mu_law_table() -> NDArray[np.uint8]:
    """The code of each 16-bit sample, at the index of the sample's two bytes read as unsigned; [65536].

    Two bytes have few values, so the core's one definition of mu-law is asked once, and a crop costs a look-up.
    """
    samples = np.arange(65536, dtype=np.uint16).view(np.int16)
    return core.mu_law_encode(samples.astype(np.float32) / np.float32(32768))


def to_codes(samples: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Mu-law codes of 16-bit samples, of any shape."""
    codes = np.empty(samples.shape, np.uint8)
    return np.take(mu_law_table(), samples.view(np.uint16), out=codes)  # twice as fast as indexing


def to_audio(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Full scale at 1: [B, T] or [B, T, channels] 16-bit samples -> [B, channels, T]."""
    audio = samples.astype(np.float32) / np.float32(32768)
    return audio[:, None] if audio.ndim == 2 else np.ascontiguousarray(audio.transpose(0, 2, 1))


@dataclass(frozen=True)
class Spans:
    """Where the crops of a batch lie: the number of a piece and the first sample in it, [B] each."""

    pieces: NDArray[np.int64]
    starts: NDArray[np.int64]


class Crops:
    """Batches of aligned crops from the pieces of one split.

    Every span of every piece is equally likely: a piece is chosen in proportion to the number of spans it has. A piece
    shorter than a crop has one span, filled up with silence.

    Args:
        tracks: what is cropped: stems, or domains for their mixtures.
        samples: length of a crop.
        batch: crops in a batch.
        kind: mu-law "codes", uint8 [B, T], or "audio", float32 [B, channels, T] with full scale at 1.
        augmented: those of `tracks` of which a batch also has a pitch-shifted twin (`augmentation`), under the name
            `"<track> augmented"`. Its shifts are a function of (seed, step, row) as well.
        noted: stems of which a batch also has the notes (`rolls`), under the name `"<stem> notes"`.
        frame_samples: of those notes' frames.

    Attributes:
        tracks: as given.
        audio: {track: its pieces' samples, [N] or [N, channels] int16}, memory maps.
        samples, kind: as given.
        total_samples: of all pieces.

    Raises:
        UserError: the split has no pieces, or lacks a track; codes of more than one channel; a stem without notes.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        split: str,
        tracks: Sequence[str],
        samples: int,
        batch: int,
        seed: int,
        kind: Kind = "codes",
        augmented: Sequence[str] = (),
        noted: Sequence[str] = (),
        frame_samples: int = 1,
    ) -> None:
        pieces = [piece for piece in prepared.pieces(split) if piece.samples > 0]
        if not pieces:
            raise UserError(f"the data has no pieces in the split {split!r}")
        if kind == "codes" and prepared.channels != 1:
            raise UserError(f"{prepared.folder}: has {prepared.channels} channels; mu-law codes are of one")
        self.tracks = tuple(tracks)
        # Plain views of the maps: numpy's memmap class costs more to slice than the samples to copy.
        self.audio = {track: [piece.audio(track).view(np.ndarray) for piece in pieces] for track in self.tracks}
        self.samples, self.kind = samples, kind
        self.total_samples = sum(piece.samples for piece in pieces)
        spans = [max(1, piece.samples - samples + 1) for piece in pieces]
        self._ends = np.cumsum(spans, dtype=np.int64)  # spans are numbered through all pieces
        self._first = self._ends - spans
        self._augmented = {track: number for number, track in enumerate(augmented, start=1)}
        self._rolls = NoteRolls(prepared, pieces, noted, frame_samples) if noted else None
        self._sample_rate = prepared.sample_rate
        self._batch, self._seed = batch, seed

    def spans(self, step: int) -> Spans:
        """Where the crops of a step lie, the whole batch."""
        spans = self._random(step).integers(self._ends[-1], size=self._batch)
        pieces = np.searchsorted(self._ends, spans, side="right")
        return Spans(pieces, spans - self._first[pieces])

    def shifts(self, step: int, track: str) -> Shifts:
        """How the twin of one of the `augmented` tracks is shifted in a step, the whole batch."""
        random = self._random(step, stream=self._augmented[track])
        return draw_shifts(random, self._batch, self.samples, self._sample_rate)

    def batch(
        self,
        step: int,
        tracks: Sequence[str] | None = None,
        rows: slice = slice(None),
        without: Sequence[str] = (),
    ) -> dict[str, Crop]:
        """The crops of a step, row b of every track from the same span; with twins and notes, where there are any.

        Args:
            tracks: the ones that are wanted; None for all.
            rows: the part of the batch that is wanted, which has the same crops as in the whole.
            without: tracks of which only the twins are wanted.
        """
        spans = self.spans(step)
        pieces, starts = spans.pieces[rows], spans.starts[rows]
        convert = to_codes if self.kind == "codes" else to_audio
        crops: dict[str, Crop] = {}
        for track in self.tracks if tracks is None else tracks:
            if track in without and track not in self._augmented:
                continue
            samples = self._cut(self.audio[track], pieces, starts)
            if track not in without:
                crops[track] = convert(samples)
            if track in self._augmented:
                crops[AUGMENTED.format(track)] = convert(shift_spans(samples, self.shifts(step, track).rows(rows)))
        return crops | self._rolls.crop(pieces, starts, self.samples) if self._rolls else crops

    def code_counts(self, track: str, batches: int = 64) -> NDArray[np.int64]:
        """How often each code occurs in the first batches: [256]."""
        counts = np.zeros(256, np.int64)
        for step in range(batches):
            spans = self.spans(step)
            counts += np.bincount(to_codes(self._cut(self.audio[track], spans.pieces, spans.starts)).ravel(), None, 256)
        return counts

    def _random(self, step: int, stream: int = 0) -> np.random.Generator:
        """Random numbers of a step; `stream` 0 is for the spans, and the others never meet it."""
        return np.random.Generator(np.random.Philox(key=[self._seed, step], counter=[0, 0, 0, stream]))

    def _cut(
        self, audio: Sequence[NDArray[np.int16]], pieces: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.int16]:
        """The samples of the crops, [B, T] or [B, T, channels]; zeros where a piece is shorter."""
        cut = np.empty((len(pieces), self.samples, *audio[0].shape[1:]), np.int16)
        for row, piece, start in zip(cut, pieces.tolist(), starts.tolist(), strict=True):
            found = audio[piece][start : start + self.samples]
            row[: len(found)] = found
            row[len(found) :] = 0
        return cut
