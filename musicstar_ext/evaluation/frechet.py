"""Frechet distance between two sets of recordings: do the outputs, as a set, sound like the true recordings?

    d^2 = |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2))

for the means m and covariances C of embeddings (Dowson and Landau 1982; Kilgour et al. 2019 for audio). The embedding
is musicnn's `pool5`: of its layers the one with the fewest dimensions (128), as sets are small here, and the last one
before the tags. It has learnt music, where VGGish, the usual choice, has learnt the sounds of videos. A sample is a
patch of 3 s.

With fewer patches than dimensions a sample covariance is singular, so covariances are shrunk towards a multiple of the
identity (Ledoit and Wolf 2004). The distance depends on the number of patches: compare sets of the same music only, and
read it beside that of the source.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

LAYER = "pool5"
FEWEST = 2  # embeddings in a set
FEW = 128  # below this many the covariance is mostly the shrinkage's


def frechet_distance(first: NDArray, second: NDArray) -> float:
    """The squared distance d^2 between two sets of embeddings, [N, D] and [M, D]; 0 for equal sets.

    Raises:
        UserError: less than two embeddings in a set, another number of dimensions, or values that are not finite.
        MissingExtraError: scikit-learn is not installed.
    """
    for embeddings in (first, second):
        if embeddings.ndim != 2 or len(embeddings) < FEWEST:
            raise UserError(f"a set needs at least {FEWEST} embeddings, [N, D], not {embeddings.shape}")
        if not np.isfinite(embeddings).all():
            raise UserError("an embedding is not finite")
    if first.shape[1] != second.shape[1]:
        raise UserError(f"embeddings have {first.shape[1]} and {second.shape[1]} dimensions")
    (mean_1, covariance_1), (mean_2, covariance_2) = _moments(first), _moments(second)
    root = _square_root(covariance_1)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariance_2 @ root), 0, None)).sum()  # of (C1 C2)^(1/2)
    distance = np.square(mean_1 - mean_2).sum() + np.trace(covariance_1) + np.trace(covariance_2) - 2 * cross
    return max(0.0, float(distance))


def _moments(embeddings: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [D] and shrunk covariance [D, D]."""
    values = embeddings.astype(np.float64)
    covariance, _ = extra_module("sklearn.covariance").ledoit_wolf(values)
    return values.mean(axis=0), covariance


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
