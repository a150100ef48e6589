"""Which keys sound in each code frame of a crop, from the notes that a prepared set keeps: what an encoder should hear.

    roll[f, key] = share of frame f (`frame_samples` samples) in which a note of that key is held

Keys are those of a piano, MIDI 21 (A0) to 108 (C8); notes outside of them are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError

from .prepared import Piece, PreparedSet

LOWEST, KEYS = 21, 88
ROLL = "{} notes"  # the name of a stem's roll in a batch


class NoteRolls:
    """The notes of some stems in the pieces of one split, as rolls of any crop.

    Args:
        stems: names of stems; the mixture's notes are its stems'.
        frame_samples: length of a frame.

    Raises:
        UserError: a piece comes without notes, or they lack a stem.
    """

    def __init__(
        self, prepared: PreparedSet, pieces: Sequence[Piece], stems: Sequence[str], frame_samples: int
    ) -> None:
        self.stems, self._frame_samples = tuple(stems), frame_samples
        self._notes: dict[str, list[NDArray[np.float64]]] = {stem: [] for stem in self.stems}
        for piece in pieces:
            notes = piece.notes()
            for stem in self.stems:
                if notes is None or stem not in notes:
                    problem = f"{prepared.folder}: piece {piece.name!r} has no notes of {stem!r}"
                    raise UserError(f"{problem}; a set made by `data render` has them")
                start, duration, pitch = notes[stem][:, :3].T
                spans = np.stack([start, start + duration], axis=1) * prepared.sample_rate
                inside = (pitch >= LOWEST) & (pitch < LOWEST + KEYS)
                self._notes[stem].append(np.column_stack([spans, pitch - LOWEST])[inside])

    def crop(
        self, pieces: NDArray[np.int64], starts: NDArray[np.int64], samples: int
    ) -> dict[str, NDArray[np.float32]]:
        """{"<stem> notes": [B, F, 88]} of the crops of `samples` at `starts` in `pieces`, F = samples // frame."""
        frames = samples // self._frame_samples
        rolls = {}
        for stem in self.stems:
            roll = np.zeros((len(pieces), frames, KEYS), np.float32)
            for row, piece, start in zip(roll, pieces.tolist(), starts.tolist(), strict=True):
                self._draw(row, self._notes[stem][piece], start)
            rolls[ROLL.format(stem)] = roll
        return rolls

    def _draw(self, roll: NDArray[np.float32], notes: NDArray[np.float64], start: int) -> None:
        """Fill one crop's roll [F, 88]; notes [n, 3]: start, end (samples), key."""
        frames = len(roll)
        begins, ends = (notes[:, :2].T - start) / self._frame_samples  # in frames
        for i in np.flatnonzero((ends > 0) & (begins < frames)).tolist():
            begin, end = max(begins[i], 0.0), min(ends[i], float(frames))
            first, last = int(begin), min(int(np.ceil(end)), frames)
            held = roll[first:last, int(notes[i, 2])]
            held += 1.0
            held[0] -= begin - first
            held[-1] -= last - end
        np.minimum(roll, 1.0, out=roll)  # where two voices hold one key
