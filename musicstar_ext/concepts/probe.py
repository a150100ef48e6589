"""How well something can be read from a layer: probes that learn on some clips and are asked about others.

A linear probe (logistic regression) shows what a layer lays open, a small network what it holds at all. Features are
scaled to unit variance, and those of wide layers first brought to their `WIDEST` principal components, both by the
training clips alone. A probe that learned from shuffled labels is the control.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module
from musicstar_ext.features.extractor import Extractor

from .extractors import pooled
from .probe_set import FONT, HEARD, PIECES, TRAINING, Clip, clip_audio

WIDEST = 128
HIDDEN = 64
ITERATIONS = 200
RESAMPLES, SHARE = 1000, 0.95
PROBES = ("linear", "network")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Reading:
    """How well one thing is read from one layer.

    Attributes:
        extractor, layer, task: what was asked of what.
        probe: "linear" or "network".
        chance: balanced accuracy of guessing, 1 / classes.
        pieces, font: balanced accuracy on held-out pieces, and on a held-out sound font.
        pieces_interval, font_interval: their 95 % bootstrap intervals over clips, drawn within each class.
        shuffled: of the probe that learned from shuffled labels, on held-out pieces and the held-out font together.
    """

    extractor: str
    layer: str
    task: str
    probe: str
    chance: float
    pieces: float
    pieces_interval: tuple[float, float]
    font: float
    font_interval: tuple[float, float]
    shuffled: float

    def above_chance(self, accuracy: float) -> float:
        """0 at chance, 1 where everything is right."""
        return (accuracy - self.chance) / (1 - self.chance)


def read_layers(
    clips: Sequence[Clip],
    extractor: Extractor,
    layers: Sequence[str],
    cache: Cache,
    progress: Progress,
    probes: Sequence[str] = PROBES,
    seed: int = 0,
) -> list[Reading]:
    """Ask every task of every layer.

    Raises:
        UserError: a clip cannot be played, or features are not finite.
    """
    rows = []
    for number, clip in enumerate(clips):
        rows.append(pooled(extractor, clip_audio(clip, cache), layers, cache, HEARD))
        progress(f"features of {extractor.name}", number + 1, len(clips))
    tasks = list(dict.fromkeys(task for clip in clips for task, _ in clip.labels))
    readings = []
    for place, layer in enumerate(layers):
        features = np.stack([row[layer] for row in rows])
        for task in tasks:
            asked = [number for number, clip in enumerate(clips) if task in dict(clip.labels)]
            labels = np.array([dict(clips[number].labels)[task] for number in asked])
            parts = np.array([clips[number].part for number in asked])
            for probe in probes:
                readings.append(_read(features[asked], labels, parts, probe, (extractor.name, layer, task), seed))
        progress(f"probes of {extractor.name}", place + 1, len(layers))
    return readings


def _read(
    features: NDArray[np.float32],
    labels: NDArray[np.str_],
    parts: NDArray[np.str_],
    probe: str,
    what: tuple[str, str, str],
    seed: int,
) -> Reading:
    learned, pieces, font = (parts == part for part in (TRAINING, PIECES, FONT))
    classes = np.unique(labels)
    if len(np.unique(labels[learned])) < 2:
        raise UserError(f"{what[2]}: the clips to learn from are all of one class")
    prepared = _prepare(features, learned, seed)
    predicted = _fitted(prepared[learned], labels[learned], probe, seed)
    random = np.random.default_rng(seed)
    control = _fitted(prepared[learned], random.permutation(labels[learned]), probe, seed)
    asked = pieces | font
    of_pieces, of_font = (
        balanced_accuracy(labels[part], predicted(prepared[part])) if part.any() else (np.nan, np.nan, np.nan)
        for part in (pieces, font)
    )
    return Reading(
        *what,
        probe,
        chance=1 / len(classes),
        pieces=of_pieces[0],
        pieces_interval=of_pieces[1:],
        font=of_font[0],
        font_interval=of_font[1:],
        shuffled=balanced_accuracy(labels[asked], control(prepared[asked]))[0],
    )


def balanced_accuracy(labels: NDArray[np.str_], predicted: NDArray[np.str_]) -> tuple[float, float, float]:
    """Mean over the classes of the share that is right, and its 95 % bootstrap interval."""
    random = np.random.default_rng(0)
    value, drawn = 0.0, np.zeros(RESAMPLES)
    classes = np.unique(labels)
    for name in classes:
        right = (predicted[labels == name] == name).mean()
        count = int((labels == name).sum())
        value += right / len(classes)
        drawn += random.binomial(count, right, RESAMPLES) / count / len(classes)
    low, high = np.quantile(drawn, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(value), float(low), float(high)


def _prepare(features: NDArray[np.float32], learned: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    preprocessing = extra_module("sklearn.preprocessing", "concepts")
    scale = preprocessing.StandardScaler().fit(features[learned].astype(np.float64))
    prepared: NDArray[np.float64] = scale.transform(features.astype(np.float64))
    if prepared.shape[1] > WIDEST:
        count = min(WIDEST, int(learned.sum()) - 1)
        decomposition = extra_module("sklearn.decomposition", "concepts")
        components = decomposition.PCA(count, svd_solver="randomized", random_state=seed).fit(prepared[learned])
        prepared = components.transform(prepared) / np.sqrt(components.explained_variance_.mean())
    return prepared


def _fitted(
    features: NDArray[np.float64], labels: NDArray[np.str_], probe: str, seed: int
) -> Callable[[NDArray[np.float64]], NDArray[np.str_]]:
    if probe == "linear":
        linear = extra_module("sklearn.linear_model", "concepts")
        model = linear.LogisticRegression(C=0.1, class_weight="balanced", max_iter=ITERATIONS)
    else:
        networks = extra_module("sklearn.neural_network", "concepts")
        model = networks.MLPClassifier((HIDDEN,), alpha=0.1, max_iter=ITERATIONS, random_state=seed)
    with warnings.catch_warnings():  # stopping after so many steps is meant
        warnings.simplefilter("ignore", extra_module("sklearn.exceptions", "concepts").ConvergenceWarning)
        model.fit(features, labels)
    predict: Callable[[NDArray[np.float64]], NDArray[np.str_]] = model.predict
    return predict
