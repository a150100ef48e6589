"""Random crops of a prepared set, the same span from several tracks, as mu-law codes.

The batch of a step is a pure function of (seed, step): a resumed training needs no state to go on with exactly the
crops that it would have seen, and a fixed seed makes fixed crops for validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.core import core

from .prepared import PreparedSet

SILENCE = 127  # the mu-law code of 0


@cache
def mu_law_table() -> NDArray[np.uint8]:
    """The code of each 16-bit sample, at the index of the sample's two bytes read as unsigned; [65536].

    Two bytes have few values, so the core's one definition of mu-law is asked once, and a crop costs a look-up.
    """
    samples = np.arange(65536, dtype=np.uint16).view(np.int16)
    return core.mu_law_encode(samples.astype(np.float32) / np.float32(32768))


def to_codes(samples: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Mu-law codes of 16-bit samples, of any shape."""
    return mu_law_table()[samples.view(np.uint16)]


class Crops:
    """Batches of aligned crops from the pieces of one split.

    Every span of every piece is equally likely: a piece is chosen in proportion to the number of spans it has. A piece
    shorter than a crop has one span, filled up with silence.

    Args:
        tracks: what is cropped: stems, or domains for their mixtures.
        samples: length of a crop.
        batch: crops in a batch.

    Raises:
        UserError: the split has no pieces, or lacks a track.
    """

    def __init__(
        self, prepared: PreparedSet, split: str, tracks: Sequence[str], samples: int, batch: int, seed: int
    ) -> None:
        pieces = [piece for piece in prepared.pieces(split) if piece.samples > 0]
        if not pieces:
            raise UserError(f"the data has no pieces in the split {split!r}")
        self._audio = {track: [piece.audio(track) for piece in pieces] for track in tracks}
        spans = [max(1, piece.samples - samples + 1) for piece in pieces]
        self._ends = np.cumsum(spans)  # spans are numbered through all pieces
        self._first = self._ends - spans
        self._samples, self._batch, self._seed = samples, batch, seed
        self.total_samples = sum(piece.samples for piece in pieces)

    def batch(self, step: int) -> dict[str, NDArray[np.uint8]]:
        """The crops of a step: {track: codes [batch, samples]}, row b of every track from the same span."""
        random = np.random.Generator(np.random.Philox(key=[self._seed, step]))
        spans = random.integers(self._ends[-1], size=self._batch)
        pieces = np.searchsorted(self._ends, spans, side="right")
        starts = spans - self._first[pieces]
        return {
            track: np.stack([self._crop(audio[piece], start) for piece, start in zip(pieces, starts, strict=True)])
            for track, audio in self._audio.items()
        }

    def code_counts(self, track: str, batches: int = 64) -> NDArray[np.int64]:
        """How often each code occurs in the first batches: [256]."""
        return np.bincount(np.concatenate([self.batch(i)[track].ravel() for i in range(batches)]), minlength=256)

    def _crop(self, audio: NDArray[np.int16], start: int) -> NDArray[np.uint8]:
        codes = to_codes(np.asarray(audio[start : start + self._samples]))
        return np.pad(codes, (0, self._samples - codes.size), constant_values=SILENCE)
