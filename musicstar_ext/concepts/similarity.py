"""How alike concepts are: what fires on whose tracks (asymmetric; the paper's), and the cosine of their vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

from .concept_file import ConceptSet

Matrix = NDArray[np.float32]

BLOCK = 1 << 25  # scores at a time: 128 MB


def check(concepts: ConceptSet) -> None:
    """Whether there is enough to compare.

    Raises:
        UserError: fewer than two concepts, a figure that is not finite, or a concept without tracks; it is named.
    """
    if len(concepts.names) < 2:
        raise UserError(f"a hierarchy needs at least two concepts, and here is {len(concepts.names)}")
    tracks = _not_finite(concepts.features)
    for name, wrong in {
        "vector": _not_finite(concepts.vectors) | ~np.isfinite(concepts.biases),
        "mean": _not_finite(concepts.means),
    }.items():
        if wrong.any():
            raise UserError(f"{concepts.names[int(wrong.argmax())]}: its {name} is not finite{_and_more(wrong)}")
    if tracks.any():
        raise UserError(f"{concepts.tracks[int(tracks.argmax())]}: its features are not finite{_and_more(tracks)}")
    empty = concepts.members.sum(axis=0, dtype=np.int64) == 0
    if empty.any():
        raise UserError(f"{concepts.names[int(empty.argmax())]}: it has no tracks{_and_more(empty)}")


def firing(concepts: ConceptSet) -> Matrix:
    """S[i, j] = mean over the tracks x of concept i of sigmoid(v_j . f(x) + b_j) (the paper's): [concepts, concepts].

    The row is the concept that supplies tracks, the column the one whose vector fires. A general concept fires on the
    tracks of a special one rather than the other way round, so S is not symmetric, and that is the information.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    sparse = extra_module("scipy.sparse", "concepts")
    count, tracks = len(concepts.names), len(concepts.tracks)
    counts = concepts.members.sum(axis=0, dtype=np.int64)
    vectors = np.ascontiguousarray(concepts.vectors.T, np.float32)
    sums = np.zeros((count, count))
    block = max(1, BLOCK // count)
    for first in range(0, tracks, block):
        part = slice(first, first + block)
        scores = concepts.features[part] @ vectors
        scores += concepts.biases
        _sigmoid(scores)
        # A track belongs to a few of thousands of concepts: what is 0 is not added.
        sums += sparse.csr_array(concepts.members[part].view(np.bool_)).T.astype(np.float32) @ scores
    return (sums / counts[:, np.newaxis]).astype(np.float32)


def cosine(vectors: NDArray[np.float32]) -> Matrix:
    """v_i . v_j / (|v_i| |v_j|) of [concepts, channels]: [concepts, concepts]; 0 with a vector that is zero."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    unit = (vectors / np.where(lengths > 0, lengths, 1)[:, np.newaxis]).astype(np.float32)
    return np.clip(unit @ unit.T, -1, 1)


def _sigmoid(values: Matrix) -> None:
    """1 / (1 + exp(-x)) in place, as (1 + tanh(x / 2)) / 2, which cannot overflow."""
    values *= 0.5
    np.tanh(values, out=values)
    values += 1
    values *= 0.5


def _not_finite(rows: Matrix) -> NDArray[np.bool_]:
    return np.asarray(~np.isfinite(rows).all(axis=1), np.bool_)


def _and_more(wrong: NDArray[np.bool_]) -> str:
    others = np.count_nonzero(wrong) - 1
    return f" ({others} more are like it)" * bool(others)
