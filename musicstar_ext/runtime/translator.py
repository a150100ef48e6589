"""The Python twin of the translate command: samples in, samples out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from musicstar_ext import checkpoints, models
from musicstar_ext.checkpoints import Branch, Checkpoint
from musicstar_ext.errors import UserError
from musicstar_ext.guidance import Guidance, choose_guidance
from musicstar_ext.shaping import Shaping, choose_shaping

from .decoding import Progress
from .engine import Engine, choose_engine
from .gain import input_gain
from .in_step import in_step
from .lanes import Lanes, choose_lanes
from .level import gated_level_dbfs
from .networks import SAMPLE_RATE, networks_of
from .options import check_options
from .pipeline import decode
from .rendering import MemoryStore, Normalize, Recording, Settings, render
from .resampling import check_rate, resample
from .samples import Audio, mono, summed
from .separating import StemSeparator

SEPARATION_SHARE = 0.1  # of the progress: taking stems out of a recording is quick beside playing them


def load(name_or_path: str | Path, device: str = "auto", precision: str = "auto", threads: int = 0) -> Translator:
    """Load a model.

    Args:
        name_or_path: a shipped model, such as "strings-piano_to_clarinet-vibraphone", or a path to a .safetensors file.
        device: "auto" (a GPU where there is one, otherwise the CPU), "cpu" or "cuda[:N]".
        precision: "auto" (fp32 or bf16, by the device), "fp32" (the plain equations), "bf16" or "int8" (CPU only).
        threads: 0 for every processor that this process may use.

    Raises:
        UserError: an unknown name, a bad checkpoint, or an engine that is not to be had.
    """
    engine = choose_engine(device, precision, threads)
    path = models.find(name_or_path)
    checkpoint = checkpoints.load(path)
    try:
        return Translator(checkpoint, engine, name=path.stem)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


class Translator:
    """A model ready to translate recordings from its source domain to its target domain.

    A translator holds weights and settings only: calls are independent of each other.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, checkpoint: Checkpoint, engine: Engine | None = None, name: str = "") -> None:
        self.checkpoint = checkpoint
        self.engine = engine or choose_engine()
        self.name = name
        self.networks = networks_of(checkpoint, self.engine)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Which track is played as which; their translations are summed."""
        return self.networks.branches

    @property
    def stems(self) -> tuple[str, ...]:
        """What `translate_stems` takes; empty for a model that hears whole recordings only."""
        return self.networks.stems

    @cached_property
    def separator(self) -> StemSeparator:
        """What takes the stems out of a recording, for a model that holds one; loaded (with torch) when first needed.

        Raises:
            UserError: torch or demucs is missing, or the separator does not fit the branches.
        """
        return StemSeparator(self.checkpoint, self.stems, self.engine)

    def translate(
        self,
        samples: ArrayLike,
        sample_rate: float,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        lanes: Lanes = "auto",
        normalize: Normalize = "auto",
        guidance: Guidance = "auto",
        shaping: Shaping = "auto",
        progress: Progress | None = None,
    ) -> Audio:
        """Translate a whole recording.

        A model with a separator takes it apart first and translates the stems as they come out, each at its level.

        Args:
            samples: [N] or [N, channels]; floats with full scale at 1, or integers of any width.
            sample_rate: of `samples`, in hertz.
            seed: equal seeds (0 <= seed < 2^64) give equal results.
            temperature: of the draws; 0 takes the most likely code at every sample.
            lanes: how many segments are decoded at once; 1 is the exact sequential decoding; "auto" chooses by duration
                and device (so a result that must not depend on the machine needs a number).
            normalize: "auto" brings the input to the level that the model was trained at, and the output back to the
                input's; "off" leaves samples as they are (the sum of several branches may then pass full scale).
            guidance: how closely the decoders follow the code (docs/guidance.md), 0 to 10; 1 decodes plainly, another
                one costs twice the products; "auto" takes the model's own.
            shaping: how far the output is brought to the spectrum that the code tells (docs/shaping.md), 0 to 1; "auto"
                is 1 for a model that can tell it, else 0.
            progress: told the seconds of audio of every piece of work done; in all, the recording's duration.

        Shape: [round(N * 16000 / sample_rate)] float32 at 16 kHz: the input's duration.

        Raises:
            UserError: an argument out of range, no samples, a sample that is NaN or infinite, a model that hears stems
                only, or a guidance other than 1 or a shaping other than 0 for a model that has none.
        """
        check_rate(sample_rate)
        check_options(seed, temperature, lanes, normalize)
        chosen, shape = self.chosen_guidance(guidance), self.chosen_shaping(shaping)
        self.networks.check_hears_mixture()
        audio = _joined(resample([mono(samples)], sample_rate, SAMPLE_RATE))
        if not len(audio):
            raise UserError("there are no samples to translate")
        recordings = {self.networks.source: Recording.of(audio)}
        if self.networks.separates:
            gain = self.separator_gain(gated_level_dbfs(audio), normalize)
            recordings = self._separated(samples, sample_rate, gain)
            if progress is not None:
                progress(SEPARATION_SHARE * len(audio) / SAMPLE_RATE)
            progress = after_separation(progress)
        return self._render(recordings, seed, temperature, lanes, normalize, chosen, shape, progress)

    def translate_stems(
        self,
        stems: Mapping[str, ArrayLike],
        sample_rate: float,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        lanes: Lanes = "auto",
        normalize: Normalize = "auto",
        guidance: Guidance = "auto",
        shaping: Shaping = "auto",
        progress: Progress | None = None,
    ) -> Audio:
        """Translate stems of one recording, and sum what becomes of them.

        Args:
            stems: {name: [N] or [N, channels]}, all or some of the model's `stems`; one alone gives its translation.
                They start together; where one ends early, silence follows.
            normalize: "auto" brings every stem to the level that the model was trained at, and its translation back to
                the stem's: the balance is kept. All are lowered alike where the sum would pass full scale.
            (others): as in `translate`.

        Shape: [round(N * 16000 / sample_rate)] float32 at 16 kHz, N that of the longest stem.

        Raises:
            UserError: as `translate`; or a stem that the model does not hear (a model may hear none).
        """
        check_rate(sample_rate)
        check_options(seed, temperature, lanes, normalize)
        chosen, shape = self.chosen_guidance(guidance), self.chosen_shaping(shaping)
        self.networks.check_stems(stems)
        recordings = {}
        for stem, samples in stems.items():
            try:
                audio = _joined(resample([mono(samples)], sample_rate, SAMPLE_RATE))
            except UserError as error:
                raise UserError(f"stem {stem!r}: {error}") from None
            if not len(audio):
                raise UserError(f"stem {stem!r}: there are no samples to translate")
            recordings[stem] = Recording.of(audio)
        return self._render(recordings, seed, temperature, lanes, normalize, chosen, shape, progress)

    def stream(
        self,
        blocks: Iterable[ArrayLike],
        sample_rate: float,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        lanes: Lanes = 1,
        level: float | None = None,
        guidance: Guidance = "auto",
        shaping: Shaping = "auto",
    ) -> Iterator[Audio]:
        """Translate a recording of any length as it comes, in bounded memory.

        Blocks of any sizes give the same samples, and with `level=None` exactly those of `translate(normalize="off")`.
        The first output comes after the encoder's look-ahead and, if it is shaped, a quarter of a second; with several
        lanes, after a group of lanes x 10 seconds.

        Args:
            blocks: [n] or [n, channels] each.
            level: the recording's gated level in dBFS where it is known beforehand (`runtime.level`): the input is then
                brought from it to the level that the model was trained at, and the output from the trained target level
                to it.
            (others): as in `translate`; "auto" lanes are 1 here, since the duration is not known.

        Yields:
            [n] float32 at 16 kHz; in all, the input's duration to the sample.

        Raises:
            UserError: as `translate`; for a sample that is NaN or infinite when its block is reached.
        """
        check_rate(sample_rate)
        check_options(seed, temperature, lanes, "off")
        chosen, shape = self.chosen_guidance(guidance), self.chosen_shaping(shaping)
        networks = self.networks
        networks.check_hears_mixture()
        lanes = self.engine_lanes(lanes, None, chosen)
        before, after = 1.0, 1.0
        if level is not None:
            if not math.isfinite(level):
                raise UserError(f"level must be a number of dBFS, not {level!r}")
            before = input_gain(level, networks.levels[networks.source])
            after = input_gain(networks.output_level(), level)
        if networks.separates:
            tracks = self.separator.separate(blocks, sample_rate, before)
            gains = dict.fromkeys(tracks, 1.0)
        else:
            tracks = {networks.source: resample(_mono_blocks(blocks), sample_rate, SAMPLE_RATE)}
            gains = {networks.source: before}
        spans = decode(networks, tracks, gains, seed, temperature, lanes, guidance=chosen, shaping=shape)
        decoded = (summed(list(together.values())) for together in spans)
        return decoded if after == 1.0 else (np.clip(block * np.float32(after), -1, 1) for block in decoded)

    def chosen_guidance(self, guidance: Guidance) -> float:
        """What a guidance is for this model: `guidance.choose_guidance`."""
        return choose_guidance(guidance, self.checkpoint.guidance)

    def chosen_shaping(self, shaping: Shaping) -> float:
        """What a shaping is for this model: `shaping.choose_shaping`."""
        return choose_shaping(shaping, able=self.networks.spectrum is not None)

    def engine_lanes(self, lanes: Lanes, seconds: float | None, guidance: float = 1.0) -> int:
        """How many lanes decode a recording of so many seconds on this engine: `lanes.choose_lanes`."""
        return choose_lanes(lanes, seconds, self.engine.threads, gpu=self.engine.gpu is not None, guided=guidance != 1)

    def separator_gain(self, level: float, normalize: Normalize) -> float:
        """What a recording of a gated level is multiplied with before it is taken apart: the separator's level."""
        return input_gain(level, self.networks.levels[self.networks.source]) if normalize == "auto" else 1.0

    def _separated(self, samples: ArrayLike, sample_rate: float, gain: float) -> dict[str, Recording]:
        pieces = list(in_step(self.separator.separate([samples], sample_rate, gain)))
        return {stem: Recording.of(_joined(piece[stem] for piece in pieces), gain) for stem in self.stems}

    def _render(
        self,
        recordings: Mapping[str, Recording],
        seed: int,
        temperature: float,
        lanes: Lanes,
        normalize: Normalize,
        guidance: float,
        shaping: float,
        progress: Progress | None,
    ) -> Audio:
        seconds = max(recording.samples for recording in recordings.values()) / SAMPLE_RATE
        lanes = self.engine_lanes(lanes, seconds, guidance)
        settings = Settings(seed, temperature, lanes, normalize, guidance, shaping)
        return _joined(render(self.networks, recordings, settings, MemoryStore(), progress))


def after_separation(progress: Progress | None) -> Progress | None:
    """Progress of what follows once the recording is taken apart."""
    return None if progress is None else lambda seconds: progress((1 - SEPARATION_SHARE) * seconds)


def _mono_blocks(blocks: Iterable[ArrayLike]) -> Iterator[Audio]:
    position = 0
    for block in blocks:
        samples = mono(block, first=position)
        position += len(samples)
        yield samples


def _joined(blocks: Iterable[Audio]) -> Audio:
    return np.concatenate([np.zeros(0, np.float32), *blocks])
