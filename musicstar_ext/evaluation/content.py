"""Content: how much of the notes a translation keeps, as the paper measures it (section 4, Jaccard).

The pitches of every 8 ms frame, rounded to semitones, are a set: A of the output, B of the true recording. A frame's
similarity is |A and B| / |A or B|, 1 where both are empty; a recording's is the mean over its frames.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np

from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.core import core
from musicstar_ext.runtime.samples import Audio

from .pitch import multi_pitch, pitch_sets
from .recording import cut_to_shortest


def jaccard(output: Audio, gold: Audio, cache: Cache | None = None) -> float:
    """Similarity of the notes of two 16 kHz recordings [N], cut to the shorter: 0 (nothing in common) to 1.

    Raises:
        MissingExtraError: essentia is not installed.
    """
    sets = [pitch_sets(multi_pitch(samples, cache)) for samples in cut_to_shortest([output, gold])]
    return jaccard_of_sets(*sets)


def jaccard_of_sets(output: Sequence[Set[int]], gold: Sequence[Set[int]]) -> float:
    """Mean over frames of |A and B| / |A or B|; two empty sets are alike.

    Raises:
        UserError: the numbers of frames differ, or there are none.
    """
    if len(output) != len(gold) or not gold:
        raise UserError(f"{len(output)} frames cannot be compared with {len(gold)}")
    return float(np.mean([len(a & b) / len(a | b) if a or b else 1.0 for a, b in zip(output, gold, strict=True)]))


def through_mu_law(samples: Audio) -> Audio:
    """A recording after 8-bit mu-law there and back: the best that a model with 256 output classes could sound."""
    return core.mu_law_decode(core.mu_law_encode(samples))
