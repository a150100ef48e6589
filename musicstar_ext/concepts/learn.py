"""Learning concepts from labelled tracks (paper, section 3): a linear probe a concept, and how well it does.

Tracks are split once, for all concepts: a track that one concept learns from is tested on by none. A concept is kept
where it has enough tracks, not too many, and is told from others well enough on the held-out ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.cache import Cache
from musicstar_ext.data.prepared import SPLITS
from musicstar_ext.errors import UserError
from musicstar_ext.evaluation.recording import read_recording
from musicstar_ext.features.extractor import Extractor

from .cav import LEARNERS, Part, Scale, Vector
from .concept_file import ConceptSet
from .extractors import pooled
from .measures import Figure, area_under_curve, balanced_accuracy
from .tracks import Labels, Track, Warn

Progress = Callable[[str, int, int], None]
Floats = NDArray[np.float32]

SMALLEST_PART = 3  # members without which a part says nothing, and the concept is left out


@dataclass(frozen=True)
class Protocol:
    """How concepts are learned; the defaults are the paper's, but for the learner.

    Attributes:
        learner: one of `cav.LEARNERS`.
        least_tracks, most_tracks: that a concept may have; `most_tracks` 0 is no limit.
        least_accuracy: balanced accuracy on test tracks that a concept is kept from.
        shares: of the tracks: train, validation, test; where the data say no split.
        seed: of the split, of the published protocol's batches, and of the shuffled labels.
    """

    learner: str = "logistic"
    least_tracks: int = 39
    most_tracks: int = 250
    least_accuracy: float = 0.70
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """What one layer's features told of one concept; the control is the same with shuffled labels."""

    concept: str
    tracks: int
    vector: Vector
    accuracy: Figure
    auc: Figure
    shuffled_accuracy: float


def track_features(
    extractor: Extractor, tracks: Sequence[Track], layers: Sequence[str], cache: Cache, warn: Warn, progress: Progress
) -> tuple[list[Track], dict[str, Floats]]:
    """One pooled vector a track; a track that cannot be read, or has features that are not finite, is left out.

    Returns:
        The tracks that are left, and {layer: [tracks, channels]}.
    """
    kept: list[Track] = []
    rows: list[dict[str, Floats]] = []
    for number, track in enumerate(tracks):
        try:
            rows.append(pooled(extractor, read_recording(track.path), layers, cache))
            kept.append(track)
        except UserError as error:
            text = str(error)
            warn(f"left out: {text}" if str(track.path) in text else f"{track.path}: left out: {text}")
        progress("features", number + 1, len(tracks))
    return kept, {layer: np.stack([row[layer] for row in rows]) for layer in layers if rows}


def learn_concepts(
    labels: Labels,
    extractor: Extractor,
    layers: Sequence[str],
    protocol: Protocol,
    cache: Cache,
    warn: Warn,
    progress: Progress,
    parents: Mapping[str, str] | None = None,
) -> tuple[ConceptSet, dict[str, list[Learned]]]:
    """Learn every concept that has enough tracks, in each layer.

    Args:
        layers: the first one's vectors make the set.
        warn: is told in one line of each concept and track that is left out.

    Returns:
        The set of the first layer, and {layer: what was learned}.

    Raises:
        UserError: nothing is left to learn from, or no concept can be learned.
    """
    tracks, features = track_features(extractor, labels.tracks, layers, cache, warn, progress)
    if not tracks:
        raise UserError("no track could be read")
    splits = split_tracks(tracks, protocol)
    names = [name for name in labels.concepts if _can_be_learned(name, tracks, splits, protocol, warn)]
    if not names:
        raise UserError("no concept has enough tracks (--least-tracks, --most-tracks)")
    members = np.array([[name in track.concepts for name in names] for track in tracks], np.bool_)
    found: dict[str, list[Learned]] = {}
    for layer in layers:
        found[layer] = []
        scale = Scale.of(features[layer][splits == "train"])
        scaled = scale.scaled(features[layer])
        for number, name in enumerate(names):
            found[layer].append(_learn_one(name, scaled, members[:, number], splits, scale, protocol))
            progress(f"concepts, {layer}", number + 1, len(names))
    first = found[layers[0]]
    downstream = features[layers[0]]
    counts = members.sum(axis=0)
    concepts = ConceptSet(
        names=tuple(names),
        tracks=tuple(track.name for track in tracks),
        extractor=extractor.name,
        layer=layers[0],
        vectors=np.stack([learned.vector.vector for learned in first]).astype(np.float32),
        biases=np.array([learned.vector.bias for learned in first], np.float32),
        means=(members.T.astype(np.float64) @ downstream / counts[:, None]).astype(np.float32),
        features=downstream,
        members=members.astype(np.uint8),
        balanced_accuracy=np.array([learned.accuracy.value for learned in first]),
        auc=np.array([learned.auc.value for learned in first]),
        kept=np.array([learned.accuracy.value > protocol.least_accuracy for learned in first]),
        clusters={name: labels.clusters[name] for name in names if name in labels.clusters},
        parents=dict(parents or {}),
        details={
            "protocol": asdict(protocol),
            "extractor": extractor.identity,
            "tracks": {split: int((splits == split).sum()) for split in SPLITS},
            "balanced_accuracy_intervals": [[learned.accuracy.low, learned.accuracy.high] for learned in first],
            "auc_intervals": [[learned.auc.low, learned.auc.high] for learned in first],
            "shuffled_balanced_accuracy": [learned.shuffled_accuracy for learned in first],
        },
    )
    return concepts, found


def split_tracks(tracks: Sequence[Track], protocol: Protocol) -> NDArray[np.str_]:
    """The split of each track: as the data say it, else drawn in the protocol's shares.

    Every concept's tracks are shared out in about these shares (iterative stratification, Sechidis et al. 2011): left
    to chance alone, one concept in a thousand of the smallest would have no test tracks. The result does not depend on
    the order of the tracks.
    """
    random = np.random.default_rng(protocol.seed)
    splits = np.array([track.split for track in tracks], "U10")
    free = sorted(np.flatnonzero(splits == "").tolist(), key=lambda number: tracks[number].name)
    drawn = _stratified([tracks[number].concepts for number in free], protocol.shares, random)
    for number, part in zip(free, drawn, strict=True):
        splits[number] = SPLITS[part]
    if len(free) < len(tracks) and not (splits == "validation").any():  # data with a training and a test part only
        training = sorted(np.flatnonzero(splits == "train").tolist(), key=lambda number: tracks[number].name)
        share = protocol.shares[1] / (protocol.shares[0] + protocol.shares[1])
        splits[random.permutation(training)[: round(share * len(training))]] = "validation"
    return splits


def _stratified(labels: Sequence[set[str]], shares: Sequence[float], random: np.random.Generator) -> list[int]:
    """The number of the part that each entry goes to: the rarest label's entries first, where most are missing."""
    total = np.asarray(shares, np.float64) / sum(shares)
    entries: dict[str, list[int]] = {}
    for number in random.permutation(len(labels)).tolist():
        for label in sorted(labels[number]):
            entries.setdefault(label, []).append(number)
    missing = {label: total * len(members) for label, members in entries.items()}
    missing_of_all = total * len(labels)
    parts = [-1] * len(labels)
    for label in sorted(entries, key=lambda label: (len(entries[label]), label)):
        for number in entries[label]:
            if parts[number] < 0:
                # Equal need of the label: where most is missing of all; then by chance.
                needs = [(missing[label][part], missing_of_all[part], random.random()) for part in range(len(total))]
                parts[number] = max(range(len(total)), key=needs.__getitem__)
                missing_of_all[parts[number]] -= 1
                for other in labels[number]:
                    missing[other][parts[number]] -= 1
    return parts


def _can_be_learned(
    name: str, tracks: Sequence[Track], splits: NDArray[np.str_], protocol: Protocol, warn: Warn
) -> bool:
    is_member = np.array([name in track.concepts for track in tracks])
    count = int(is_member.sum())
    if count < protocol.least_tracks:
        problem = f"has {count} tracks, fewer than {protocol.least_tracks}"
    elif protocol.most_tracks and count > protocol.most_tracks:
        problem = f"has {count} tracks, more than {protocol.most_tracks}"
    elif count == len(tracks):
        problem = "every track belongs to it, so there is nothing to tell it from"
    else:
        for split in ("train", "test"):
            inside = is_member[splits == split]
            if inside.sum() < SMALLEST_PART or (~inside).sum() < SMALLEST_PART:
                problem = f"its {split} part has {inside.sum()} of its tracks and {(~inside).sum()} others"
                break
        else:
            return True
    warn(f"concept {name!r} is left out: {problem}")
    return False


def _learn_one(
    name: str,
    scaled: NDArray[np.float64],
    is_member: NDArray[np.bool_],
    splits: NDArray[np.str_],
    scale: Scale,
    protocol: Protocol,
) -> Learned:
    def part(split: str, labels: NDArray[np.bool_]) -> Part:
        inside = splits == split
        return Part(scaled[inside], labels[inside])

    learner = LEARNERS[protocol.learner]
    vector = learner(part("train", is_member), part("validation", is_member), protocol.seed)
    test = part("test", is_member)
    scores = vector.scores(test.features)
    shuffled = is_member.copy()
    random = np.random.default_rng([protocol.seed, *name.encode()])
    for split in SPLITS:  # within each part, so that each keeps its share of members
        inside = np.flatnonzero(splits == split)
        shuffled[inside] = shuffled[random.permutation(inside)]
    control = learner(part("train", shuffled), part("validation", shuffled), protocol.seed)
    return Learned(
        name,
        int(is_member.sum()),
        scale.unscaled(vector),
        balanced_accuracy(scores, test.members),
        area_under_curve(scores, test.members),
        balanced_accuracy(control.scores(test.features), part("test", shuffled).members).value,
    )
