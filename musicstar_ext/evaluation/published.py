"""The figures of the paper's Table 1 (Alinoori and Tzerpos, ISMIR 2022), to stand beside measured ones."""

from __future__ import annotations

from typing import NamedTuple

VOTES = 60  # a column of points sums to 900 = 60 votes x (5 + 4 + 3 + 2 + 1)


class PublishedRow(NamedTuple):
    """Points of the listening test (three questions), Jaccard similarity, and cosine of the triplet network."""

    content_points: int
    style_points: int
    quality_points: int
    jaccard: float
    cosine: float


TABLE_1 = {
    "single-instrument": PublishedRow(166, 150, 153, 0.371, 0.483),
    "separation-based": PublishedRow(165, 147, 159, 0.392, 0.474),
    "embedding-supervised": PublishedRow(161, 157, 149, 0.350, 0.472),
    "stem-supervised": PublishedRow(154, 190, 183, 0.323, 0.699),
    "mixture-supervised": PublishedRow(254, 256, 256, 0.426, 0.698),
}
"""Ten test pieces of StarNet, both directions; subjective: 30 raters."""
