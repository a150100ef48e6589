"""Learned concepts as one file: a vector a concept, the features of the tracks, who belongs to what.

A concept's score for a recording with the pooled features f is sigmoid(v . f + b) (paper, section 3): v and b are kept
for the features as they are, so nobody has to know how they were scaled in training.

| tensor | shape | what |
|---|---|---|
| `vectors` | [concepts, channels] | v, a concept activation vector |
| `biases` | [concepts] | b |
| `means` | [concepts, channels] | mean features of a concept's tracks |
| `features` | [tracks, channels] | one pooled vector a track |
| `members` | [tracks, concepts], uint8 | 1 where the track belongs to the concept |

The header's description holds the rest of `ConceptSet`'s attributes as JSON; null is a figure that is not known.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.tensor_file import read_tensors, write_tensors

KIND = "concepts"
SUFFIX = ".safetensors"

Floats = NDArray[np.float32]

_TYPES = {"members": np.uint8}


@dataclass(frozen=True)
class ConceptSet:
    """Concepts of one layer of one network, and the tracks that they were learned from.

    Attributes:
        names: of the concepts, each once.
        tracks: what identifies each track: its path as the data gave it, each once.
        extractor, layer: what the features are of, e.g. "musicnn" and "pool5".
        vectors, biases: [concepts, channels], [concepts].
        means: [concepts, channels]; the mean of the features of a concept's tracks.
        features: [tracks, channels].
        members: [tracks, concepts] uint8, 0 or 1.
        balanced_accuracy, auc: [concepts] on held-out tracks; nan where not measured.
        kept: [concepts] bool: passed the keep rule.
        clusters: {concept: its known cluster}; of some concepts, or of none.
        parents: {concept: its known parent}, of a known tree; parents need not be concepts themselves.
        details: how it was learned, and further figures; free-form JSON.
    """

    names: tuple[str, ...]
    tracks: tuple[str, ...]
    extractor: str
    layer: str
    vectors: Floats
    biases: Floats
    means: Floats
    features: Floats
    members: NDArray[np.uint8]
    balanced_accuracy: NDArray[np.float64]
    auc: NDArray[np.float64]
    kept: NDArray[np.bool_]
    clusters: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError where the parts do not fit together: a bug of the caller, or a damaged file."""
        concepts, tracks = len(self.names), len(self.tracks)
        channels = self.features.shape[-1]
        shapes = _shapes(concepts, tracks, channels)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} is {getattr(self, name).shape}, not {shape}")
        for name in ("balanced_accuracy", "auc", "kept"):
            if getattr(self, name).shape != (concepts,):
                raise ValueError(f"{name} must have a value for each concept")
        if len(set(self.names)) != concepts or len(set(self.tracks)) != tracks:
            raise ValueError("two concepts or two tracks have the same name")
        if self.members.size and self.members.max() > 1:
            raise ValueError("members must be 0 or 1")
        if unknown := sorted(self.clusters.keys() - set(self.names)):
            raise ValueError(f"there is a cluster for {unknown[0]!r}, which is no concept")

    def scores(self, features: Floats) -> NDArray[np.float64]:
        """sigmoid(v . f + b) of [tracks, channels] for every concept: [tracks, concepts]."""
        logits = np.asarray(features, np.float64) @ self.vectors.T.astype(np.float64) + self.biases
        return 0.5 * (1 + np.tanh(logits / 2))

    def number(self, name: str) -> int:
        """The position of a concept.

        Raises:
            UserError: there is none of that name.
        """
        try:
            return self.names.index(name)
        except ValueError:
            some = ", ".join(self.names[:10]) + ", ..." * (len(self.names) > 10)
            raise UserError(f"there is no concept {name!r}; there are {some}") from None

    def chosen(self, wanted: NDArray[np.bool_]) -> ConceptSet:
        """Some of the concepts, [concepts] bool, with all the tracks."""
        names = tuple(name for name, is_wanted in zip(self.names, wanted, strict=True) if is_wanted)
        return ConceptSet(
            names,
            self.tracks,
            self.extractor,
            self.layer,
            self.vectors[wanted],
            self.biases[wanted],
            self.means[wanted],
            self.features,
            self.members[:, wanted],
            self.balanced_accuracy[wanted],
            self.auc[wanted],
            self.kept[wanted],
            {name: self.clusters[name] for name in names if name in self.clusters},
            self.parents,
            self.details,
        )

    def kept_only(self) -> ConceptSet:
        """The concepts that passed the keep rule."""
        return self.chosen(self.kept)


def save(concepts: ConceptSet, path: Path) -> None:
    """Write a set of concepts, whole or not at all.

    Raises:
        UserError: the name does not end in .safetensors, or the file cannot be written.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: the name must end in {SUFFIX}")
    description = {
        "concepts": list(concepts.names),
        "tracks": list(concepts.tracks),
        "channels": concepts.features.shape[1],
        "extractor": concepts.extractor,
        "layer": concepts.layer,
        "balanced_accuracy": _figures(concepts.balanced_accuracy),
        "auc": _figures(concepts.auc),
        "kept": [bool(kept) for kept in concepts.kept],
        "clusters": dict(concepts.clusters),
        "parents": dict(concepts.parents),
        "details": dict(concepts.details),
    }
    tensors = {name: getattr(concepts, name) for name in _shapes(0, 0, 0)}
    write_tensors(path, KIND, tensors, description, _TYPES)


def load(path: str | os.PathLike[str]) -> ConceptSet:
    """Read a set of concepts.

    Raises:
        UserError: the file is missing, damaged, of another kind or version, or its parts do not fit together.
    """
    tensors, said = read_tensors(path, KIND, _shapes_of, _TYPES)
    try:
        return ConceptSet(
            names=tuple(said["concepts"]),
            tracks=tuple(said["tracks"]),
            extractor=str(said["extractor"]),
            layer=str(said["layer"]),
            **tensors,
            balanced_accuracy=_array(said, "balanced_accuracy"),
            auc=_array(said, "auc"),
            kept=np.array([value is True for value in said["kept"]], np.bool_),
            clusters=_texts(said, "clusters"),
            parents=_texts(said, "parents"),
            details=dict(said["details"]),
        )
    except KeyError as error:
        raise UserError(f"{path}: its header is damaged (no {error.args[0]})") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: its header is damaged ({error})") from None


def _shapes(concepts: int, tracks: int, channels: int) -> dict[str, tuple[int, ...]]:
    return {
        "vectors": (concepts, channels),
        "biases": (concepts,),
        "means": (concepts, channels),
        "features": (tracks, channels),
        "members": (tracks, concepts),
    }


def _shapes_of(said: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    for key in ("concepts", "tracks"):
        names = said.get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"no list of {key}")
    channels = said.get("channels")
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise ValueError("no number of channels")
    return _shapes(len(said["concepts"]), len(said["tracks"]), channels)


def _figures(values: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


def _array(said: Mapping[str, Any], key: str) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else float(value) for value in said[key]], np.float64)


def _texts(said: Mapping[str, Any], key: str) -> dict[str, str]:
    texts = said[key]
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise ValueError(f"{key} must be names for names")
    return texts
