"""From published files to one checkpoint: which decoder plays which track, and which encoder it listens to."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicstar_ext.architecture import DecoderConfig, EncoderConfig, NetworkConfig
from musicstar_ext.checkpoints import Branch, Checkpoint, Tensors
from musicstar_ext.errors import UserError

from .layout import hearing_part, import_decoder, import_encoder
from .reading import read_settings, read_states

DEFAULT_LEVEL = -14.0
"""dBFS of every track where it is not told: the published models were trained without bringing recordings to a level,
and this is the median gated level of StarNet's test clips, mixtures and stems alike."""

SETTINGS = "args.pth"
SAMPLE_RATE = 16_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,99}")


@dataclass(frozen=True)
class Wanted:
    """What the files do not say.

    Attributes:
        sources: the one recording that all decoders' encoders hear, or a stem for each decoder.
        targets: what each decoder plays.
        source_levels, target_levels: dBFS, one for each or one for all.
        encoders: files to take the encoders from instead, one for each decoder or one for all.
        encoder_layers, decoder_layers: in a block, where there is no `args.pth` or it is not to be read.
        method: of Table 1; empty to judge by the networks.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    source_levels: Sequence[float] = (DEFAULT_LEVEL,)
    target_levels: Sequence[float] = (DEFAULT_LEVEL,)
    encoders: Sequence[Path] = ()
    encoder_layers: int | None = None
    decoder_layers: int | None = None
    method: str = ""

    def __post_init__(self) -> None:
        for option, names in (("--source", self.sources), ("--target", self.targets)):
            for name in names:
                if not _NAME.fullmatch(name):
                    raise UserError(f"{option}: {name!r} is not a name of a recording (letters, digits, - and _)")
            if len(set(names)) < len(names):
                raise UserError(f"{option} names the same twice: {', '.join(names)}")
        for option, levels in (("--source-level", self.source_levels), ("--target-level", self.target_levels)):
            for level in levels:
                if not -120 <= level <= 20:
                    raise UserError(f"{option} must be dBFS from -120 to 20, not {level}")
        for option, layers in (("--encoder-layers", self.encoder_layers), ("--decoder-layers", self.decoder_layers)):
            if layers is not None and layers < 1:
                raise UserError(f"{option} must be a positive number, not {layers}")
        if self.method and not _NAME.fullmatch(self.method):
            raise UserError(f"--method: {self.method!r} is not a method's name, such as mixture-supervised")


@dataclass
class _Encoder:
    config: EncoderConfig
    weights: Tensors

    def equals(self, other: _Encoder) -> bool:
        return self.config == other.config and all(
            np.array_equal(array, other.weights[name]) for name, array in self.weights.items()
        )


@dataclass
class _Decoder:
    config: DecoderConfig
    weights: Tensors
    part: int  # of its file's decoders
    parts: int


def import_checkpoints(paths: Sequence[Path], wanted: Wanted) -> Checkpoint:
    """Read published checkpoints into one of this package.

    Every decoder of the files, in their order, becomes a branch. An encoder that several files hold is kept once. Where
    a file's decoders together are as wide as its encoder's code, each hears its part of it.

    Raises:
        UserError: a file that `reading` or `layout` refuses, names or levels that are not as many as needed, or an
            encoder and a decoder that do not fit together.
        MissingExtraError: torch is not installed.
    """
    decoders: list[_Decoder] = []
    own_encoders: list[_Encoder | None] = []
    for path in paths:
        states, settings = read_states(path), _settings(path, wanted)
        held = [key for key in ("decoder_state", "decoder2_state") if key in states]
        if not held:
            raise UserError(f"{path}: holds no decoder_state; a file of encoders alone is given with --encoders")
        encoder = None if wanted.encoders else _encoder(path, states, settings, wanted)
        for part, key in enumerate(held):
            with _naming(path):
                config, weights = import_decoder(states[key], settings, wanted.decoder_layers)
            decoders.append(_Decoder(config, weights, part, len(held)))
            own_encoders.append(encoder)
    _check_counts(wanted, len(decoders))
    others = [_encoder(path, read_states(path), _settings(path, wanted), wanted) for path in wanted.encoders]
    heard = [others[i % len(others)] if others else own for i, own in enumerate(own_encoders)]
    encoders = [encoder for encoder in heard if encoder is not None]
    return _assembled(paths, wanted, encoders, decoders)


def _assembled(
    paths: Sequence[Path], wanted: Wanted, encoders: Sequence[_Encoder], decoders: Sequence[_Decoder]
) -> Checkpoint:
    count = len(decoders)
    sources, targets = _each(wanted.sources, count), list(wanted.targets)
    networks: dict[str, NetworkConfig] = {}
    weights: dict[str, Tensors] = {}
    branches = []
    shared = all(encoder.equals(encoders[0]) for encoder in encoders)
    for i, (encoder, decoder) in enumerate(zip(encoders, decoders, strict=True)):
        own_name = targets[i] if len(wanted.sources) == 1 else sources[i]
        branch = Branch(
            source=sources[i],
            target=targets[i],
            encoder="encoder" if shared else f"encoder.{own_name}",
            decoder="decoder" if count == 1 else f"decoder.{targets[i]}",
        )
        networks[branch.encoder], weights[branch.encoder] = encoder.config, encoder.weights
        networks[branch.decoder], weights[branch.decoder] = _fitted(branch, encoder.config, decoder)
        branches.append(branch)
    levels = dict(zip(sources, _each(wanted.source_levels, count), strict=True))
    levels |= dict(zip(targets, _each(wanted.target_levels, count), strict=True))
    domains = {"source": "-".join(dict.fromkeys(sources)), "target": "-".join(targets)}
    for domain, stems in ((domains["source"], set(sources)), (domains["target"], set(targets))):
        power = sum(10 ** (levels[stem] / 10) for stem in stems)
        levels.setdefault(domain, 10 * math.log10(power))
    return Checkpoint(
        method=wanted.method or _method(wanted, encoders),
        networks=networks,
        weights=weights,
        domains=domains,
        branches=tuple(branches),
        levels=levels,
        sample_rate=SAMPLE_RATE,
        training={"imported": [path.name for path in (*paths, *wanted.encoders)]},
    )


def _fitted(branch: Branch, encoder: EncoderConfig, decoder: _Decoder) -> tuple[DecoderConfig, Tensors]:
    """The decoder as it hears its encoder's code."""
    config, code = decoder.config, encoder.code_channels
    if config.pool != encoder.pool:
        raise UserError(
            f"{branch.target}: frames of {encoder.pool} samples in the encoder, of {config.pool} in the decoder"
        )
    if config.condition_channels == code:
        return config, decoder.weights
    if decoder.parts > 1 and config.condition_channels * decoder.parts == code:
        return hearing_part(config, decoder.weights, decoder.part, decoder.parts)
    raise UserError(
        f"{branch.target}: the encoder's code has {code} channels, the decoder expects {config.condition_channels}"
    )


def _encoder(path: Path, states: dict[str, Tensors], settings: dict[str, Any], wanted: Wanted) -> _Encoder:
    if "encoder_state" not in states:
        raise UserError(f"{path}: holds no encoder_state; the encoder of another file is given with --encoders")
    with _naming(path):
        return _Encoder(*import_encoder(states["encoder_state"], settings, wanted.encoder_layers))


def _settings(path: Path, wanted: Wanted) -> dict[str, Any]:
    """Those beside a checkpoint, unless they are not needed or not there."""
    beside = path.parent / SETTINGS
    told = wanted.encoder_layers is not None and wanted.decoder_layers is not None
    return {} if told or not beside.exists() else read_settings(beside)


def _check_counts(wanted: Wanted, decoders: int) -> None:
    if len(wanted.targets) != decoders:
        raise UserError(f"the files hold {decoders} decoders, and --target names {len(wanted.targets)}: one for each")
    if len(wanted.sources) not in (1, decoders):
        raise UserError(f"--source names {len(wanted.sources)}: give one for all {decoders} decoders, or one for each")
    for option, values in (
        ("--source-level", wanted.source_levels),
        ("--target-level", wanted.target_levels),
        ("--encoders", wanted.encoders),
    ):
        if values and len(values) not in (1, decoders):
            raise UserError(f"{option} holds {len(values)}: give one for all, or one for each of {decoders} decoders")


def _method(wanted: Wanted, encoders: Sequence[_Encoder]) -> str:
    """The row of Table 1 that has such networks."""
    if len(wanted.sources) > 1:
        return "single-instrument"
    if wanted.encoders:
        return "embedding-supervised"
    if encoders[0].config.kind == "universal":
        return "universal-network"
    return "mixture-supervised" if len(encoders) == 1 else "stem-supervised"


def _each(values: Sequence[Any], count: int) -> list[Any]:
    return list(values) * count if len(values) == 1 else list(values)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
