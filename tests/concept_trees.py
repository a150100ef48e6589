"""Sets of concepts with a known tree: Gaussians around centres that themselves lie around their parents' centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicstar_ext.concepts.concept_file import ConceptSet


def concept_tree(branching: Sequence[int] = (3, 3), tracks: int = 8, channels: int = 24, seed: int = 0) -> ConceptSet:
    """Concepts a, b, ..., a.a, a.b, ...: every leaf has `tracks` tracks, which belong to all its ancestors, too.

    A concept's vector is its mean's difference from the mean of all, its bias puts the border in the middle.
    """
    random = np.random.default_rng(seed)
    names: list[str] = []
    parents: dict[str, str] = {}
    centres: list[np.ndarray] = []
    level: list[tuple[str, np.ndarray]] = [("", np.zeros(channels))]
    for depth, count in enumerate(branching):
        level = [
            (f"{name}.{chr(97 + n)}".lstrip("."), centre + random.standard_normal(channels) * 0.6**depth)
            for name, centre in level
            for n in range(count)
        ]
        for name, centre in level:
            names.append(name)
            centres.append(centre)
            if "." in name:
                parents[name] = name.rsplit(".", 1)[0]
    leaves = [name for name, _ in level]
    features, rows = [], []
    for leaf in leaves:
        above = [n for n, name in enumerate(names) if leaf == name or leaf.startswith(f"{name}.")]
        row = np.zeros(len(names), np.uint8)
        row[above] = 1
        for _ in range(tracks):
            features.append(centres[names.index(leaf)] + 0.3 * random.standard_normal(channels))
            rows.append(row)
    values, members = np.array(features, np.float32), np.array(rows)
    means = (members.T.astype(np.float32) @ values) / members.sum(axis=0)[:, np.newaxis]
    vectors = (means - values.mean(axis=0)) / 4
    biases = -(vectors * (means + values.mean(axis=0)) / 2).sum(axis=1)
    return ConceptSet(
        names=tuple(names),
        tracks=tuple(f"{leaf}-{n}.wav" for leaf in leaves for n in range(tracks)),
        extractor="gaussians",
        layer="one",
        vectors=vectors.astype(np.float32),
        biases=biases.astype(np.float32),
        means=means.astype(np.float32),
        features=values,
        members=members,
        balanced_accuracy=random.uniform(0.7, 1, len(names)),
        auc=random.uniform(0.8, 1, len(names)),
        kept=np.ones(len(names), np.bool_),
        clusters={name: name.split(".")[0] for name in names},
        parents=parents,
    )
