"""Training the style network on a prepared set.

As published, anchor and positive are one segment of the target, and the negative is the same music by the source.
The cosine of anchor and positive is then 1 whatever the network does, so the loss only asks for a cosine below 0.9 to
the source, which random weights nearly give already: such a network has learnt little. With `positive="other"` the
positive is a segment of another piece, which asks that style matters more than notes. The published choice is the
default, as that is what the paper's figures were measured with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from musicstar_ext.cache import Cache
from musicstar_ext.data.prepared import Piece, PreparedSet
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.samples import Audio

from .mfcc import MFCC, SEGMENT_SECONDS, mfcc, segments
from .recording import to_recording
from .style import StyleModel
from .triplet import MARGIN, TripletNetwork, triplet_hinge

POSITIVES = ("same", "other")

Progress = Callable[[str, int, int], None]
"""Called with what is done ("features" or "epochs"), how many are done, and of how many."""


@dataclass(frozen=True)
class StyleRecipe:
    """How the network is trained; the defaults are the paper's."""

    epochs: int = 10
    batch: int = 16
    learning_rate: float = 1e-3
    margin: float = MARGIN
    positive: str = "same"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("epochs", self.epochs, 1), ("batch", self.batch, 2), ("seed", self.seed, 0)):
            if value < least:
                raise UserError(f"{name} must be at least {least}, not {value}")
        if not 0 < self.learning_rate <= 1:
            raise UserError(f"learning_rate must be in (0, 1], not {self.learning_rate}")
        if not 0 < self.margin < 2:
            raise UserError(f"margin must be in (0, 2), not {self.margin}")
        if self.positive not in POSITIVES:
            raise UserError(f"positive must be {' or '.join(POSITIVES)}, not {self.positive!r}")


@dataclass(frozen=True)
class Segments:
    """Segments of some pieces, the same spans of each: [N, 12, 256], and the number of the piece of each, [N]."""

    target: MFCC
    source: MFCC
    piece: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.piece)


def train_style(
    prepared: PreparedSet,
    target: str,
    source: str,
    recipe: StyleRecipe | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> StyleModel:
    """Train on the set's training pieces, and measure on its validation pieces.

    Equal data, recipe and number of threads give equal weights.

    Args:
        target: the track whose style is recognised, e.g. a domain's mixture; `source` the one it is told from.

    Raises:
        UserError: an unknown track, one that is both, or a split with too little audio.
    """
    recipe = recipe or StyleRecipe()
    progress = progress or (lambda what, done, total: None)
    for track in (target, source):
        if track not in prepared.tracks:
            raise UserError(f"{prepared.folder}: no track {track!r}; there are {', '.join(prepared.tracks)}")
    if target == source:
        raise UserError(f"the source is the target: {target}")
    split_pieces = {split: _pieces(prepared, split) for split in ("train", "validation")}
    count = sum(len(pieces) for pieces in split_pieces.values())
    done = 0
    features: dict[str, Segments] = {}
    noise = np.zeros((0, 0), np.float32)
    for split, pieces in split_pieces.items():
        targets, sources, noises, numbers = [], [], [], []
        for number, piece in enumerate(pieces):
            audio = [to_recording(piece.audio(track), prepared.sample_rate) for track in (target, source)]
            cut = [segments(mfcc(samples, cache)) for samples in audio]
            targets.append(cut[0])
            sources.append(cut[1])
            numbers += [number] * len(cut[0])
            if split == "validation":
                noises.append(segments(mfcc(_noise_like(audio[0], number), cache)))
            done += 1
            progress("features", done, count)
        features[split] = Segments(np.concatenate(targets), np.concatenate(sources), np.array(numbers))
        if noises:
            noise = np.concatenate(noises)
    if len(features["train"]) < 2:
        raise UserError(f"{prepared.folder}: its training pieces have less than two segments of {SEGMENT_SECONDS} s")

    network, losses = _fit(features["train"], recipe, lambda epoch: progress("epochs", epoch, recipe.epochs))
    model = StyleModel(network, {})
    model.description.update(
        {
            "target": target,
            "source": source,
            "recipe": asdict(recipe),
            "losses": losses,
            "data": {
                "domains": list(prepared.domains),
                "pieces": {split: len(pieces) for split, pieces in split_pieces.items()},
                "segments": {split: len(found) for split, found in features.items()},
                "hours": {
                    split: round(sum(piece.samples for piece in pieces) / prepared.sample_rate / 3600, 3)
                    for split, pieces in split_pieces.items()
                },
            },
            "held_out": held_out_scores(model, features["validation"], noise),
        }
    )
    return model


def held_out_scores(model: StyleModel, held_out: Segments, noise: MFCC) -> dict[str, float | None]:
    """How well the network tells styles apart in pieces that it has not heard.

    Mean cosines to the true recording's segments: of themselves ("gold", 1), of the target playing other music
    ("other_gold"), of the source playing the same ("source"), of white noise of the same level ("noise"). And
    "pair_accuracy": the share of segments that are nearer to other music of the target than to their own music played
    by the source; 0.5 is chance. None where there is only one segment.
    """
    gold, source, white = (model.embed(frames) for frames in (held_out.target, held_out.source, noise))
    other = _others(held_out.piece)
    to_source, to_other = functional.cosine_similarity(gold, source), functional.cosine_similarity(gold, gold[other])
    alone = len(held_out) < 2
    return {
        "gold": float(functional.cosine_similarity(gold, gold).mean()),
        "other_gold": None if alone else float(to_other.mean()),
        "source": float(to_source.mean()),
        "noise": float(functional.cosine_similarity(gold, white).mean()),
        "pair_accuracy": None if alone else float((to_other > to_source).double().mean()),
    }


def _pieces(prepared: PreparedSet, split: str) -> list[Piece]:
    pieces = [piece for piece in prepared.pieces(split) if piece.samples >= prepared.sample_rate]
    if not pieces:
        raise UserError(f"{prepared.folder}: no piece of at least a second in the split {split!r}")
    return pieces


def _fit(data: Segments, recipe: StyleRecipe, progress: Callable[[int], None]) -> tuple[TripletNetwork, list[float]]:
    """The trained network and the mean loss of each epoch. Random numbers elsewhere in the process are not touched."""
    target, source = torch.from_numpy(data.target), torch.from_numpy(data.source)
    random = np.random.default_rng(recipe.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = TripletNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    batch = min(recipe.batch, len(data))
    network.train()
    losses = []
    for epoch in range(1, recipe.epochs + 1):
        order = random.permutation(len(data))
        positives = order if recipe.positive == "same" else _others(data.piece, random)[order]
        total = 0.0
        starts = range(0, len(data) - batch + 1, batch)  # whole batches only, as published
        for start in starts:
            anchor, positive, negative = (
                _rows(frames, chosen[start : start + batch])
                for frames, chosen in ((target, order), (target, positives), (source, order))
            )
            loss = triplet_hinge(network(anchor), network(positive), network(negative), recipe.margin)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(starts))
        progress(epoch)
    return network, losses


def _rows(frames: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    return frames[torch.from_numpy(chosen)]


def _others(piece: NDArray[np.int64], random: np.random.Generator | None = None) -> NDArray[np.int64]:
    """For each segment another one, from another piece where there are several pieces; [N].

    Without `random` it is the one half of all others further on.
    """
    count = len(piece)
    chosen = np.zeros(count, np.int64)
    for index in range(count):
        candidates = np.flatnonzero(piece != piece[index])
        if not len(candidates):
            candidates = np.delete(np.arange(count), index) if count > 1 else np.arange(1)
        position = np.searchsorted(candidates, index) + len(candidates) // 2
        chosen[index] = candidates[(random.integers(len(candidates)) if random else position) % len(candidates)]
    return chosen


def _noise_like(samples: Audio, seed: int) -> Audio:
    """White noise with the length and level of a recording."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return (np.random.default_rng(seed).standard_normal(len(samples)) * level).astype(np.float32)


def card(name: str, description: dict[str, Any]) -> str:
    """The Markdown that stands beside a trained network's file."""
    held_out, data, recipe = description["held_out"], description["data"], description["recipe"]

    def figure(value: float | None) -> str:
        return "not measured (one segment)" if value is None else f"{value:.3f}"

    how = "anchor and positive are the same segment, as published"
    if recipe["positive"] == "other":
        how = "the positive is a segment of another piece, unlike published"
    rows = {
        "recognises": f"{description['target']}, told from {description['source']}",
        "network": "four blocks of 64 channels on MFCCs 1 to 12 (Music-STAR, section 4), 16 kHz",
        "data": f"{data['segments']['train']} training segments of 8 s from {data['pieces']['train']} pieces "
        f"({data['hours']['train']} h)",
        "held out": f"{data['segments']['validation']} segments from {data['pieces']['validation']} pieces",
        "training": f"{recipe['epochs']} epochs, batch {recipe['batch']}, Adam {recipe['learning_rate']:g}, "
        f"margin {recipe['margin']:g}, seed {recipe['seed']}; {how}",
        "loss": f"{description['losses'][0]:.4f} in the first epoch, {description['losses'][-1]:.4f} in the last",
        "**pair accuracy**, held out": figure(held_out["pair_accuracy"]),
        "cosine to gold: gold itself": figure(held_out["gold"]),
        "cosine to gold: other music of the target": figure(held_out["other_gold"]),
        "cosine to gold: the source": figure(held_out["source"]),
        "cosine to gold: white noise": figure(held_out["noise"]),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""# {name}

What `python -m musicstar_ext.evaluate pair --style-model` measures style with.

| | |
|---|---|
{table}

Cosines are means over held-out segments. Pair accuracy is the share of them that lie nearer to other music of the
target than to their own music played by the source (chance: 0.5). A score of this network is comparable with scores of
this network alone: read it beside the source's and the true recording's.
"""
