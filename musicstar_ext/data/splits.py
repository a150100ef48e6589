"""Which split a score belongs to: held-out music must not be music that was trained on.

The corpus has works in several editions, and Bach harmonised some tunes many times. So a score goes where its tune
already is: two scores share a tune if 16 intervals in a row of their top parts are the same (in whatever key), and
those are not just a scale or a trill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from .corpus import WrittenScore
from .prepared import SPLITS

RUN = 16  # intervals
LEAST_DISTINCT = 5  # different intervals in a run, for scales and trills are everybody's

Tune = tuple[int, ...]


class Splits:
    """Deals out pieces so that each split has its share of them; a score, and a tune, stays in one split.

    Args:
        shares: {split: share of the pieces}, for every split.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = shares
        self._pieces: Counter[str] = Counter()
        self._split_of_score: dict[str, str | None] = {}
        self._split_of_tune: dict[Tune, str] = {}

    def split_of(self, score: WrittenScore) -> str | None:
        """The split of a score, the same whenever it is asked; None where its tunes are in several, so it fits none."""
        if score.name not in self._split_of_score:
            tunes = _tunes(score)
            found = {self._split_of_tune[tune] for tune in tunes if tune in self._split_of_tune}
            split = None if len(found) > 1 else found.pop() if found else self._needy()
            if split:
                self._split_of_tune.update(dict.fromkeys(tunes, split))
            self._split_of_score[score.name] = split
        return self._split_of_score[score.name]

    def count(self, split: str) -> None:
        """One more piece is in a split."""
        self._pieces[split] += 1

    def _needy(self) -> str:
        """A split without pieces, else the one that lacks most of its share."""
        wanted = [split for split in SPLITS if self._shares[split] > 0]
        total = self._pieces.total() + 1
        empty = [split for split in wanted if not self._pieces[split]]
        return empty[0] if empty else max(wanted, key=lambda split: self._shares[split] * total - self._pieces[split])


def _tunes(score: WrittenScore) -> set[Tune]:
    """Every run of intervals (semitones) of the top part that is distinctive."""
    pitches = [note.pitch for note in score.parts[0]] if score.parts else []
    intervals = [after - before for before, after in pairwise(pitches)]
    runs = {tuple(intervals[i : i + RUN]) for i in range(len(intervals) - RUN + 1)}
    return {run for run in runs if len(set(run)) >= LEAST_DISTINCT}
