"""Which extractor a command means, and one vector for a recording or a part of it, kept in a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from musicstar_ext import models
from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.evaluation.mfcc import SEGMENT_SECONDS, mfcc, segments
from musicstar_ext.evaluation.style import StyleModel
from musicstar_ext.evaluation.triplet import CHANNELS, weights_of
from musicstar_ext.features.encoder_layers import EncoderLayers
from musicstar_ext.features.extractor import Extractor, Features, LogMel, MusicnnLayers, check_request, digest
from musicstar_ext.runtime.samples import Audio

Span = tuple[float, float]
"""Seconds from, to."""

_UNKNOWN = "neither musicnn, log-mel, style:FILE nor a model"


class StyleEmbedding:
    """The style network's embedding of each segment of 8 s (a shorter recording is repeated)."""

    layers: Mapping[str, int] = {"embedding": CHANNELS}
    default_layer = "embedding"
    frame_rate = 1 / SEGMENT_SECONDS

    def __init__(self, model: StyleModel, name: str = "style") -> None:
        self.name = name
        self._model = model
        self.identity = f"style-{digest({key: value.numpy() for key, value in weights_of(model.network).items()})}"

    def features(self, samples: Audio, layers: Sequence[str] = ("embedding",)) -> dict[str, Features]:
        """{"embedding": [segments, 64]}.

        Raises:
            UserError: an unknown layer, or an empty recording.
            MissingExtraError: librosa is not installed.
        """
        check_request(self, samples, layers)
        return {layer: self._model.embed(segments(mfcc(samples))).numpy() for layer in layers}


def open_extractor(text: str) -> Extractor:
    """An extractor by its name.

    Args:
        text: musicnn, log-mel, style:FILE (a network of `evaluate train-style`), or a translation model, shipped or a
            checkpoint: MODEL[:ENCODER].

    Raises:
        UserError: there is no such extractor, or its file is missing or damaged.
    """
    if text == "musicnn":
        return MusicnnLayers()
    if text == "log-mel":
        return LogMel()
    kind, _, rest = text.partition(":")
    if kind == "style" and rest:
        return StyleEmbedding(StyleModel.load(rest), f"style:{Path(rest).stem}")
    try:
        path, network = models.find(text), ""
    except UserError as error:
        name, colon, network = text.rpartition(":")
        if not colon:
            raise UserError(f"{text!r} is {_UNKNOWN} ({error})") from None
        path = models.find(name)
    else:
        if not path.exists() and ":" in text:  # a path with an encoder behind it
            name, _, network = text.rpartition(":")
            path = models.find(name)
    return EncoderLayers.load(path, network)


def pooled(
    extractor: Extractor, samples: Audio, layers: Sequence[str], cache: Cache | None = None, span: Span | None = None
) -> dict[str, Features]:
    """The mean over a recording's frames, of each layer: {layer: [channels]}.

    Args:
        samples: [N] at 16 kHz.
        span: only frames whose middle is in it, where the extractor has any there; else all of them.

    Raises:
        UserError: the features are not finite, or what the extractor raises.
    """

    def compute() -> dict[str, Features]:
        found = extractor.features(samples, layers)
        return {layer: _mean(frames, extractor.frame_rate, span) for layer, frames in found.items()}

    kept = (cache or Cache(None)).arrays("concepts", samples, compute, extractor.identity, tuple(layers), span)
    for layer in layers:
        if kept[layer].shape != (extractor.layers[layer],):
            raise UserError(f"layer {layer} of {extractor.name} gives {kept[layer].shape}: damaged, or a bug")
        if not np.isfinite(kept[layer]).all():
            raise UserError(f"its features in layer {layer} of {extractor.name} are not finite")
    return {layer: kept[layer] for layer in layers}


def _mean(frames: Features, rate: float, span: Span | None) -> Features:
    if span is not None:
        middles = (np.arange(len(frames)) + 0.5) / rate
        inside = (middles >= span[0]) & (middles < span[1])
        frames = frames[inside] if inside.any() else frames
    return np.asarray(frames.mean(axis=0, dtype=np.float64), np.float32)
