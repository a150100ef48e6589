"""Which pieces a rendered set has: scores, splits, sound fonts. A pure function of the options.

The list only grows with the wanted length: the first pieces of a long set are those of a short one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from musicstar_ext.errors import UserError

from .corpus import WrittenScore
from .scores import Score, arrange
from .splits import Splits
from .synthesis import TAIL

# {domain: {stem: General MIDI program, from 0}}; stems at the same position play the same notes.
PROGRAMS: dict[str, dict[str, int]] = {
    "strings-piano": {"strings": 48, "piano": 0},
    "clarinet-vibraphone": {"clarinet": 71, "vibraphone": 11},
}
MOST_IMBALANCE = 4.0  # dB between the two stems of a mixture
RECIPE = 1  # raised when the same plan is rendered differently


@dataclass(frozen=True)
class PiecePlan:
    """Everything that rendering a piece depends on."""

    name: str
    split: str
    source: str  # the score's name in the corpus
    title: str
    composer: str
    variant: int
    seed: int
    score: Score
    sound_font: Path
    balance: float  # dB, level of the second stem above the first

    def fingerprint(self) -> str:
        """Equal for two plans that make the same piece; the sound font counts by name and size."""
        font = [self.sound_font.name, self.sound_font.stat().st_size]
        described = [RECIPE, PROGRAMS, asdict(self.score), font, self.balance, self.split]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SetOptions:
    """What a set should be: the share of the pieces that each split gets, and the sound fonts that play them."""

    seed: int
    shares: Mapping[str, float]
    sound_fonts: Mapping[str, Sequence[Path]]


def first_visits(shelves: Sequence[Sequence[str]], seed: int) -> list[str]:
    """The scores in the order in which `plan_pieces` asks for them first."""
    longest = max(map(len, shelves))
    return list(dict.fromkeys(itertools.islice(_visits(shelves, seed), len(shelves) * longest)))


def plan_pieces(
    shelves: Sequence[Sequence[str]], read: Callable[[str], WrittenScore], options: SetOptions
) -> Iterator[PiecePlan]:
    """Pieces without end, in turn from each shelf; a score belongs to one split, however many pieces it gives.

    Raises:
        UserError: no score can be used.
    """
    splits = Splits(options.shares)
    variants: Counter[str] = Counter()
    count = unused = 0
    for source in _visits(shelves, options.seed):
        written = read(source)
        variant = variants[source]
        variants[source] += 1
        score = arrange(written, variant, options.seed)
        split = splits.split_of(written) if score else None
        if score is None or split is None:
            unused += 1
            if unused > 2 * sum(map(len, shelves)):
                raise UserError("the corpus of music21 has no score that can be used")
            continue
        splits.count(split)
        count, unused = count + 1, 0
        choose = random.Random(f"render {options.seed} {source} {variant}")
        fonts = options.sound_fonts[split]
        font = choose.choice(fonts) if len(fonts) > 1 else fonts[0]
        slug = re.sub(r"[^\w.]+", "-", str(PurePosixPath(source).with_suffix("")))
        yield PiecePlan(
            name=f"{count:04d}-{slug}",
            split=split,
            source=source,
            title=written.title,
            composer=written.composer,
            variant=variant,
            seed=options.seed,
            score=score,
            sound_font=font,
            balance=round(choose.uniform(-MOST_IMBALANCE, MOST_IMBALANCE), 2),
        )


def planned_seconds(plan: PiecePlan) -> float:
    """Length of a piece with the release of its last note."""
    return plan.score.seconds + TAIL


def _visits(shelves: Sequence[Sequence[str]], seed: int) -> Iterator[str]:
    """Every shelf in its own random order, round and round; one score from each shelf in turn."""
    rounds = []
    for index, shelf in enumerate(shelves):
        order = list(shelf)
        random.Random(f"shelf {seed} {index}").shuffle(order)
        if order:
            rounds.append(itertools.cycle(order))
    while rounds:
        for each in rounds:
            yield next(each)
