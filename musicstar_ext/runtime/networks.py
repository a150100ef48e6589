"""From a checkpoint to the native encoders and decoders that run it, and which recordings they hear.

A checkpoint's branches hear one of two things: the recording of the source domain, a mixture; or recordings of its
stems, which a separator may first take out of the mixture.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from musicstar_ext.architecture import (
    DecoderConfig,
    EncoderConfig,
    NetworkConfig,
    SeparatorConfig,
    SpectrumConfig,
    parameter_count,
)
from musicstar_ext.checkpoints import SPECTRUM, Branch, Checkpoint, Tensors
from musicstar_ext.errors import UserError

from .core import core
from .engine import Engine, device_errors
from .shaping import ExpectedSpectrum

SAMPLE_RATE = 16_000
SEPARATOR = "separator"  # the network that takes stems out of a mixture


@dataclass(frozen=True)
class EncoderNetwork:
    """An encoder on an engine."""

    config: EncoderConfig
    weights: Tensors
    engine: Engine

    def encoder(self) -> core.Encoder | core.CudaEncoder:
        """A fresh encoder at the start of a stream."""
        engine, sizes = self.engine, _sizes(self.config)
        with _making("encoder", engine):
            if engine.gpu is None:
                return core.Encoder(sizes, self.weights, engine.threads, engine.isa, engine.precision)
            encoder = core.CudaEncoder(sizes, self.weights, engine.gpu.index, engine.precision)
            engine.kernels.setdefault("encoder", encoder.kernel)
            return encoder


@dataclass(frozen=True)
class DecoderNetwork:
    """A decoder on an engine."""

    config: DecoderConfig
    weights: Tensors
    engine: Engine

    def sampler(self, lanes: int, guided: bool = False) -> core.Sampler | core.CudaSampler:
        """A fresh sampler, all lanes at their first sample; only a guided one takes a guidance other than 1."""
        engine, sizes = self.engine, _sizes(self.config)
        with _making("decoder", engine):
            if engine.gpu is None:
                isa, precision = engine.isa, engine.precision
                return core.Sampler(sizes, self.weights, lanes, engine.threads, isa, precision, guided=guided)
            sampler = core.CudaSampler(sizes, self.weights, lanes, engine.gpu.index, engine.precision, guided=guided)
            engine.kernels.setdefault("decoder", sampler.kernel)
            return sampler


@contextlib.contextmanager
def _making(network: str, engine: Engine) -> Iterator[None]:
    try:
        with device_errors(engine):
            yield
    except ValueError as error:
        raise UserError(f"this version's engine cannot run the {network}: {error}") from None


@dataclass(frozen=True)
class Networks:
    """What a checkpoint's branches need, ready to run.

    Attributes:
        domains: {"source": the domain that is heard, "target": the one that is played}.
        branches: as in the checkpoint.
        encoders, decoders: those that the branches name.
        spectrum: what tells the spectrum that the only branch is to play, where the checkpoint has it.
        levels: dBFS of every source and target track, and of the source domain where a separator hears it.
        separates: whether the checkpoint takes the stems out of the mixture itself.
    """

    domains: Mapping[str, str]
    branches: tuple[Branch, ...]
    encoders: Mapping[str, EncoderNetwork]
    decoders: Mapping[str, DecoderNetwork]
    levels: Mapping[str, float]
    separates: bool
    spectrum: ExpectedSpectrum | None = None

    @property
    def source(self) -> str:
        """The domain that is heard: the track of its mixture."""
        return self.domains["source"]

    @property
    def stems(self) -> tuple[str, ...]:
        """The stems that the branches hear, in their order; none where they hear the mixture."""
        return tuple(dict.fromkeys(branch.source for branch in self.branches if branch.source != self.source))

    def branches_of(self, tracks: Iterable[str]) -> tuple[Branch, ...]:
        """The branches that hear one of `tracks`."""
        heard = set(tracks)
        return tuple(branch for branch in self.branches if branch.source in heard)

    def output_level(self) -> float:
        """Level in dBFS of the sum of all branches' targets: uncorrelated sounds add their powers."""
        levels = [self.levels[branch.target] for branch in self.branches]
        return levels[0] if len(levels) == 1 else 10 * math.log10(sum(10 ** (level / 10) for level in levels))

    def branch_seed(self, branch: Branch, seed: int) -> int:
        """The seed of a branch's own random stream, 0 <= seed < 2^64; it does not depend on the other branches.

        From one domain's mixture to the other's it is the seed itself.
        """
        if (branch.source, branch.target) == (self.source, self.domains["target"]):
            return int(seed)
        text = f"{int(seed)}:{branch.source}:{branch.target}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def check_hears_mixture(self) -> None:
        """Raises UserError where only stems can be translated; the message says which and how."""
        if self.stems and not self.separates:
            names = ",".join(self.stems)
            raise UserError(
                f"this model translates stems, each recorded by itself: name what the inputs are with --stems {names}, "
                "or some of these (Translator.translate_stems in Python)"
            )

    def check_stems(self, names: Iterable[str]) -> None:
        """Raises UserError where one of `names` is not a stem that the model hears, is there twice, or none is."""
        if not self.stems:
            raise UserError(f"this model hears a whole recording of {self.source}, not its stems: give it one file")
        names = list(names)
        for name in names:
            if name not in self.stems:
                raise UserError(f"this model hears no stem {name!r}; its stems are {', '.join(self.stems)}")
            if names.count(name) > 1:
                raise UserError(f"stem {name!r} is named twice")
        if not names:
            raise UserError(f"no stem is named; this model's stems are {', '.join(self.stems)}")


def networks_of(checkpoint: Checkpoint, engine: Engine) -> Networks:
    """Check that a checkpoint's branches can be run, and that the networks of each fit together.

    Raises:
        UserError: no branches, networks that are missing or of other types, sizes that do not fit, tracks that are
            neither all the mixture nor all stems, another sample rate, no levels.
    """
    if not checkpoint.branches:
        held = ", ".join(sorted(checkpoint.networks)) or "none"
        raise UserError(
            f"a checkpoint of method {checkpoint.method!r} that translates nothing: no branches (its networks: {held})"
        )
    if checkpoint.sample_rate != SAMPLE_RATE:
        raise UserError(f"the model's sample rate is {checkpoint.sample_rate} Hz, this version runs {SAMPLE_RATE} Hz")
    if not {"source", "target"} <= checkpoint.domains.keys():
        raise UserError("the model does not say which domain it hears, and which it plays")
    encoders: dict[str, EncoderNetwork] = {}
    decoders: dict[str, DecoderNetwork] = {}
    for branch in checkpoint.branches:
        encoder, decoder = _check_branch(checkpoint, branch)
        encoders[branch.encoder] = EncoderNetwork(encoder, checkpoint.weights[branch.encoder], engine)
        decoders[branch.decoder] = DecoderNetwork(decoder, checkpoint.weights[branch.decoder], engine)
    networks = Networks(
        domains=checkpoint.domains,
        branches=checkpoint.branches,
        encoders=encoders,
        decoders=decoders,
        levels=checkpoint.levels,
        separates=isinstance(checkpoint.networks.get(SEPARATOR), SeparatorConfig),
        spectrum=_spectrum(checkpoint),
    )
    _check_tracks(checkpoint, networks)
    return networks


def _check_branch(checkpoint: Checkpoint, branch: Branch) -> tuple[EncoderConfig, DecoderConfig]:
    encoder = checkpoint.networks.get(branch.encoder)
    decoder = checkpoint.networks.get(branch.decoder)
    for name, network in ((branch.encoder, encoder), (branch.decoder, decoder)):
        if network is None:
            raise UserError(
                f"method {checkpoint.method!r}: the branch to {branch.target!r} needs the network {name!r}, "
                f"the checkpoint holds {', '.join(sorted(checkpoint.networks)) or 'none'}"
            )
    if not isinstance(encoder, EncoderConfig) or not isinstance(decoder, DecoderConfig):
        assert encoder is not None and decoder is not None  # noqa: PT018
        raise UserError(
            f"networks {branch.encoder} and {branch.decoder} are of the types "
            f"{encoder.type_name!r} and {decoder.type_name!r}"
        )
    if encoder.code_channels != decoder.condition_channels:
        raise UserError(
            f"the code of {branch.encoder} has {encoder.code_channels} channels, "
            f"{branch.decoder} expects {decoder.condition_channels}"
        )
    if encoder.pool != decoder.pool:
        raise UserError(
            f"the frames of {branch.encoder} have {encoder.pool} samples, those of {branch.decoder} {decoder.pool}"
        )
    if decoder.classes != 256:
        raise UserError(f"{branch.decoder} has {decoder.classes} classes, translating 8-bit codes needs 256")
    return encoder, decoder


def _spectrum(checkpoint: Checkpoint) -> ExpectedSpectrum | None:
    config = checkpoint.networks.get(SPECTRUM)
    if not isinstance(config, SpectrumConfig):
        return None
    if len(checkpoint.branches) > 1:
        raise UserError(f"the network {SPECTRUM!r} is for a model of one branch, this one has several")
    encoder = checkpoint.networks[checkpoint.branches[0].encoder]
    assert isinstance(encoder, EncoderConfig)
    if (config.code_channels, config.pool) != (encoder.code_channels, encoder.pool):
        raise UserError(
            f"{SPECTRUM} hears frames of {config.code_channels} channels for {config.pool} samples, the code has "
            f"{encoder.code_channels} for {encoder.pool}"
        )
    return ExpectedSpectrum(config, checkpoint.weights[SPECTRUM])


def _check_tracks(checkpoint: Checkpoint, networks: Networks) -> None:
    source, branches = networks.source, networks.branches
    paths = [(branch.source, branch.target) for branch in branches]
    for path in paths:
        if paths.count(path) > 1:
            raise UserError("two branches translate {!r} to {!r}".format(*path))
    if networks.stems and any(branch.source == source for branch in branches):
        raise UserError(f"the model's branches hear both {source!r} and its stems {', '.join(networks.stems)}")
    if networks.separates and not networks.stems:
        raise UserError(f"the model has a separator, but its branches hear {source!r} itself")
    roles = [(role, track) for path in paths for role, track in zip(("source", "target"), path, strict=True)]
    if networks.separates:
        roles.append(("source", source))
    for role, track in roles:
        level = checkpoint.levels.get(track)
        if level is None or not math.isfinite(level) or not -120 <= level <= 20:
            raise UserError(f"the model's {role} level of {track!r} is {level}, expected a level in dBFS")


def _sizes(config: NetworkConfig) -> dict[str, int | str]:
    return {key: value for key, value in config.to_json().items() if key != "type"}


def work(network: EncoderNetwork | DecoderNetwork) -> int:
    """What a network costs: nearly every parameter is one multiply-add for each sample."""
    return parameter_count(network.config)
