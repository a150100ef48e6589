"""Which pieces a rendered set has: scores, splits, and how each stem is played. A pure function of the options.

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
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from musicstar_ext.errors import UserError

from .corpus import WrittenScore
from .instruments import DEFAULT_DOMAINS, Domains, shared_ranges
from .scores import Score, arrange
from .splits import Splits
from .synthesis import TAIL
from .variety import ATTENUATION, Performance, plain_performances, varied_performances

MOST_IMBALANCE = 4.0  # dB between a stem of a mixture and its first stem
RECIPE = 2  # raised when the same plan is rendered differently


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
    performances: Mapping[str, Mapping[str, Performance]]  # {domain: {stem: how it is played}}
    balances: tuple[float, ...]  # dB, for each position the level of the stem above the first
    attenuation: Mapping[str, float]  # dB, for each domain the level of its peak over the usual one

    def described(self) -> dict[str, Any]:
        """Where the piece comes from and how it is played, as JSON."""
        return {
            "split": self.split,
            "score": self.source,
            "title": self.title,
            "composer": self.composer,
            "seed": self.seed,
            "variant": self.variant,
            "first_bar": self.score.first_bar,
            "semitones": self.score.semitones,
            "tempo": self.score.tempo,
            "balances": list(self.balances),
            "attenuation": dict(self.attenuation),
            "performances": {
                domain: {stem: performance.described() for stem, performance in stems.items()}
                for domain, stems in self.performances.items()
            },
        }

    def sound_fonts(self) -> set[Path]:
        return {performance.sound_font for stems in self.performances.values() for performance in stems.values()}

    def fingerprint(self) -> str:
        """Equal for two plans that make the same piece; a sound font counts by its name and size."""
        fonts = {font.name: font.stat().st_size for font in self.sound_fonts()}
        notes = [
            [[(note.start, note.duration, note.pitch, note.velocity) for note in voice] for voice in voices]
            for voices in self.score.stems
        ]
        described = [RECIPE, self.described(), notes, fonts]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SetOptions:
    """What a set should be.

    Attributes:
        shares: {split: share of the pieces}.
        sound_fonts: {split: the fonts that play it}. The first one for training always plays the domains that are not
            the source, where there is one.
        domains: what plays.
        source: the domain whose sound varies; None: all alike, with one font a piece.
    """

    seed: int
    shares: Mapping[str, float]
    sound_fonts: Mapping[str, Sequence[Path]]
    domains: Domains = field(default_factory=lambda: DEFAULT_DOMAINS)
    source: str | None = None


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
    ranges = shared_ranges(options.domains)
    splits = Splits(options.shares)
    variants: Counter[str] = Counter()
    count = unused = 0
    for source in _visits(shelves, options.seed):
        written = read(source)
        variant = variants[source]
        variants[source] += 1
        score = arrange(written, variant, options.seed, ranges)
        split = splits.split_of(written) if score else None
        if score is None or split is None:
            unused += 1
            if unused > 2 * sum(map(len, shelves)):
                raise UserError(f"the corpus of music21 has no score that can be used for {len(ranges)} instruments")
            continue
        splits.count(split)
        count, unused = count + 1, 0
        choose = random.Random(f"render {options.seed} {source} {variant}")
        fonts = options.sound_fonts[split]
        font = choose.choice(fonts) if len(fonts) > 1 else fonts[0]
        balances = [0.0, *(round(choose.uniform(-MOST_IMBALANCE, MOST_IMBALANCE), 2) for _ in ranges[1:])]
        if options.source is not None:
            font = options.sound_fonts["train"][0]
        performances = {domain: plain_performances(players, font) for domain, players in options.domains.items()}
        attenuation = dict.fromkeys(options.domains, 0.0)
        if options.source is not None:
            players = options.domains[options.source]
            performances[options.source] = varied_performances(players, score.stems, fonts, choose)
            attenuation[options.source] = round(choose.uniform(*ATTENUATION), 2)
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
            performances=performances,
            balances=tuple(balances),
            attenuation=attenuation,
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
