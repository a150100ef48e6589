"""Translation as a concept shift: how far a translation moves from the source's concepts to the target's.

With s(c) = sigmoid(v_c . f + b_c), the score of concept c for a recording's features f, a recording stands at

    position = mean of s over the target's concepts - mean of s over the source's concepts,    -1 (source) to 1 (target)

and the shift of a translation is its position less that of what was translated. Beside the true recording, the share of
the way is the shift over the shift of the true recording: 1 where the translation stands as near to the target as the
truth does. An unchanged copy has a shift of exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.features.extractor import Extractor
from musicstar_ext.runtime.samples import Audio

from .concept_file import ConceptSet
from .extractors import pooled

LEAST_WAY = 0.05  # of the true recording, below which a share of it says nothing


@dataclass(frozen=True)
class Shift:
    """Positions between the source's concepts (-1) and the target's (1); nan without a true recording."""

    before: float
    after: float
    gold: float

    @property
    def shift(self) -> float:
        return self.after - self.before

    @property
    def share(self) -> float:
        """Of the way to the true recording; nan without one, or where it stands no nearer to the target."""
        way = self.gold - self.before
        return self.shift / way if way > LEAST_WAY else np.nan


class ConceptShift:
    """Measures shifts with one set of concepts.

    Args:
        concepts: with the source's and the target's instruments among them.
        extractor: what the concepts were learned on.
        source, target: names of concepts, one or more each.

    Raises:
        UserError: an unknown concept, one on both sides, or another extractor than the concepts were learned on.
    """

    def __init__(
        self, concepts: ConceptSet, extractor: Extractor, source: Sequence[str], target: Sequence[str]
    ) -> None:
        learned_on = concepts.details.get("extractor")
        if learned_on != extractor.identity or concepts.layer not in extractor.layers:
            raise UserError(f"the concepts were learned on other features than those of {extractor.name}")
        if not source or not target:
            raise UserError("the source and the target need a concept each")
        if both := set(source) & set(target):
            raise UserError(f"{min(both)!r} is a concept of both the source and the target")
        self._concepts, self._extractor = concepts, extractor
        self._source = [concepts.number(name) for name in source]
        self._target = [concepts.number(name) for name in target]

    def position(self, samples: Audio, cache: Cache | None = None) -> float:
        """Where a 16 kHz recording [N] stands, -1 to 1.

        Raises:
            UserError: it is empty, or its features are not finite.
        """
        layer = self._concepts.layer
        features = pooled(self._extractor, samples, [layer], cache)[layer]
        scores = self._concepts.scores(features[None])[0]
        return float(scores[self._target].mean() - scores[self._source].mean())

    def measure(self, source: Audio, output: Audio, gold: Audio | None = None, cache: Cache | None = None) -> Shift:
        """The shift from a source to its translation, beside the true recording where there is one; 16 kHz, [N]."""
        before, after = self.position(source, cache), self.position(output, cache)
        return Shift(before, after, np.nan if gold is None else self.position(gold, cache))
