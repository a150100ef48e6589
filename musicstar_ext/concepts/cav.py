"""A concept activation vector: the linear probe that tells a concept's tracks from others (paper, section 3).

Three ways to find v and b of sigmoid(v . f + b), all on features scaled to zero mean and unit variance over the
training tracks, and then written for the features as they are:

* `logistic`: scikit-learn's logistic regression, classes weighted to balance, its strength chosen on the validation
  tracks. The fast default: a convex problem, solved.
* `paper`: batches of 64 of the concept's tracks and 64 others drawn uniformly, dropout of 0.25 on the features, Adam at
  1e-3, early stopping on the validation tracks.
* `mean-difference`: v is the difference of the two classes' means, and b puts the border halfway: the baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.extras import extra_module

Features = NDArray[np.float64]  # [tracks, channels]
Members = NDArray[np.bool_]  # [tracks]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C
BATCH_OF_EACH, DROPOUT, LEARNING_RATE = 64, 0.25, 1e-3
EPOCHS, PATIENCE, STEPS_AN_EPOCH = 200, 10, 8


class Vector(NamedTuple):
    """v, [channels], and b."""

    vector: NDArray[np.float64]
    bias: float

    def scores(self, features: NDArray) -> NDArray[np.float64]:
        """sigmoid(v . f + b) of [tracks, channels]: [tracks]."""
        logits = np.asarray(features, np.float64) @ self.vector + self.bias
        return 0.5 * (1 + np.tanh(logits / 2))


class Part(NamedTuple):
    """Some of the tracks: their features, and which of them belong to the concept."""

    features: Features
    members: Members


class Scale(NamedTuple):
    """Mean and spread of the training tracks' features; a channel that never changes has a spread of 1."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray) -> Scale:
        wide = np.asarray(features, np.float64)
        mean, spread = wide.mean(axis=0), wide.std(axis=0)
        return cls(mean, np.where(spread > 1e-9 * (1 + np.abs(mean)), spread, 1.0))

    def scaled(self, features: NDArray) -> Features:
        return (np.asarray(features, np.float64) - self.mean) / self.spread

    def unscaled(self, found: Vector) -> Vector:
        """The vector for features as they are that gives the scores which `found` gives scaled ones."""
        vector = found.vector / self.spread
        return Vector(vector, float(found.bias - vector @ self.mean))


def learn_logistic(train: Part, validation: Part, seed: int) -> Vector:
    """Logistic regression; the strength that is best on the validation tracks (their balanced log-likelihood).

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    linear = extra_module("sklearn.linear_model", "concepts")
    best, found = -np.inf, None
    for strength in STRENGTHS if _has_both(validation) else (0.01,):
        model = linear.LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        model.fit(train.features, train.members)
        candidate = Vector(model.coef_[0].astype(np.float64), float(model.intercept_[0]))
        likelihood = _likelihood(candidate, validation) if _has_both(validation) else 0.0
        if likelihood > best:
            best, found = likelihood, candidate
    assert found is not None
    return found


def learn_mean_difference(train: Part, validation: Part, seed: int) -> Vector:
    """The difference of the classes' means; the border halfway between them."""
    members, others = train.features[train.members].mean(axis=0), train.features[~train.members].mean(axis=0)
    vector = members - others
    return Vector(vector, float(-vector @ (members + others) / 2))


def learn_as_published(train: Part, validation: Part, seed: int) -> Vector:
    """The paper's protocol.

    Raises:
        MissingExtraError: torch is not installed.
    """
    torch = extra_module("torch", "train")
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    features = torch.from_numpy(train.features.astype(np.float32))
    members, others = np.flatnonzero(train.members), np.flatnonzero(~train.members)
    weight = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], LEARNING_RATE)
    labels = torch.cat([torch.ones(BATCH_OF_EACH), torch.zeros(BATCH_OF_EACH)])
    stopping = validation if _has_both(validation) else train
    best, best_at, found = -np.inf, 0, Vector(np.zeros(features.shape[1]), 0.0)
    for epoch in range(EPOCHS):
        for _ in range(STEPS_AN_EPOCH):
            rows = np.concatenate([random.choice(members, BATCH_OF_EACH), random.choice(others, BATCH_OF_EACH)])
            batch = features[torch.from_numpy(rows)]
            kept = torch.rand(batch.shape, generator=generator) >= DROPOUT
            logits = (batch * kept / (1 - DROPOUT)) @ weight + bias
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
            optimizer.step()
        candidate = Vector(weight.detach().numpy().astype(np.float64), float(bias.detach()))
        likelihood = _likelihood(candidate, stopping)
        if likelihood > best:
            best, best_at, found = likelihood, epoch, candidate
        elif epoch - best_at >= PATIENCE:
            break
    return found


Learner = Callable[[Part, Part, int], Vector]

LEARNERS: dict[str, Learner] = {
    "logistic": learn_logistic,
    "paper": learn_as_published,
    "mean-difference": learn_mean_difference,
}


def _has_both(part: Part) -> bool:
    return bool(part.members.any() and not part.members.all())


def _likelihood(found: Vector, part: Part) -> float:
    """Mean of the classes' mean log-likelihoods."""
    logits = part.features @ found.vector + found.bias
    signed = np.where(part.members, logits, -logits)
    each = -np.logaddexp(0, -signed)
    return float((each[part.members].mean() + each[~part.members].mean()) / 2)
