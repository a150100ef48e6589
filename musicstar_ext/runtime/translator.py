"""The Python twin of the translate command: samples in, samples out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from musicstar_ext import checkpoints, models
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import UserError

from .decoding import Decoder
from .encoding import encode
from .engine import Engine, choose_engine
from .gain import input_gain, output_gain
from .lanes import Lanes, choose_lanes, lane_rules
from .level import gated_level_dbfs
from .networks import SAMPLE_RATE, networks_of
from .options import check_options
from .resampling import check_rate, resample
from .samples import Audio, mono

Normalize = Literal["auto", "off"]
Progress = Callable[[float], None]


def load(name_or_path: str | Path, device: str = "auto", precision: str = "auto", threads: int = 0) -> Translator:
    """Load a model.

    Args:
        name_or_path: a shipped model, such as "strings-piano_to_clarinet-vibraphone", or a path to a .safetensors file.
        device: "auto", "cpu" or "cuda[:N]".
        precision: "auto" (fp32 or bf16, by the instruction set), "fp32", "bf16" or "int8"; fp32 is the plain equations.
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
        self._networks = networks_of(checkpoint, self.engine)

    def translate(
        self,
        samples: ArrayLike,
        sample_rate: float,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        lanes: Lanes = "auto",
        normalize: Normalize = "auto",
        progress: Progress | None = None,
    ) -> Audio:
        """Translate a whole recording.

        Args:
            samples: [N] or [N, channels]; floats with full scale at 1, or integers of any width.
            sample_rate: of `samples`, in hertz.
            seed: equal seeds (0 <= seed < 2^64) give equal results.
            temperature: of the draws; 0 takes the most likely code at every sample.
            lanes: how many segments are decoded at once; 1 is the exact sequential decoding; "auto" chooses by duration
                and threads (so a result that must not depend on the machine needs a number).
            normalize: "auto" brings the input to the level that the model was trained at, and the output back to the
                input's; "off" leaves samples as they are.
            progress: told the seconds of audio of every piece of work done; in all, the recording's duration.

        Shape: [round(N * 16000 / sample_rate)] float32 at 16 kHz: the input's duration.

        Raises:
            UserError: an argument out of range, no samples, or a sample that is NaN or infinite.
        """
        check_rate(sample_rate)
        check_options(seed, temperature, lanes, normalize)
        audio = _joined(resample([mono(samples)], sample_rate, SAMPLE_RATE))
        if not len(audio):
            raise UserError("there are no samples to translate")
        lanes = choose_lanes(lanes, len(audio) / SAMPLE_RATE, self.engine.threads)
        if normalize == "off":
            return _joined(self.decode([audio], 1.0, seed, temperature, lanes, progress))
        level = gated_level_dbfs(audio)
        if not math.isfinite(level):
            return np.zeros(len(audio), np.float32)
        gain = input_gain(level, self.level("source"))
        output = _joined(self.decode([audio], gain, seed, temperature, lanes, progress))
        return output * np.float32(output_gain(gated_level_dbfs(output), level, float(np.abs(output).max())))

    def stream(
        self,
        blocks: Iterable[ArrayLike],
        sample_rate: float,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        lanes: Lanes = 1,
        level: float | None = None,
    ) -> Iterator[Audio]:
        """Translate a recording of any length as it comes, in bounded memory.

        Blocks of any sizes give the same samples, and with `level=None` exactly those of `translate(normalize="off")`.
        The first output comes after the encoder's look-ahead; with several lanes, after a group of lanes x 10 seconds.

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
        lanes = choose_lanes(lanes, None, self.engine.threads)
        before, after = 1.0, 1.0
        if level is not None:
            if not math.isfinite(level):
                raise UserError(f"level must be a number of dBFS, not {level!r}")
            before = input_gain(level, self.level("source"))
            after = input_gain(self.level("target"), level)
        audio = resample(_mono_blocks(blocks), sample_rate, SAMPLE_RATE)
        decoded = self.decode(audio, before, seed, temperature, lanes)
        return decoded if after == 1.0 else (np.clip(block * np.float32(after), -1, 1) for block in decoded)

    def level(self, role: str) -> float:
        """Gated level in dBFS of the audio of a domain, "source" or "target", that the model was trained on."""
        return self.checkpoint.levels[self.checkpoint.domains[role]]

    def decode(
        self,
        audio: Iterable[Audio],
        gain: float,
        seed: int,
        temperature: float,
        lanes: int,
        progress: Progress | None = None,
    ) -> Iterator[Audio]:
        """The pipeline itself, for callers that prepare audio on their own: 16 kHz blocks -> as many samples in blocks.

        gain -> mu-law -> encoder -> sampler (sequential for one lane) -> mu-law decoded, at the model's own level.
        """
        report = progress or (lambda seconds: None)
        networks = self._networks
        share = networks.encoder_share
        taken = given = 0

        def prepared() -> Iterator[Audio]:
            nonlocal taken
            for block in audio:
                taken += len(block)
                yield block * np.float32(gain)

        frames = encode(prepared(), networks, lambda samples: report(samples * share / SAMPLE_RATE))
        decoder = Decoder(networks, seed, temperature, lambda samples: report(samples * (1 - share) / SAMPLE_RATE))
        if lanes == 1:
            decoded = decoder.sequential(frames)
        else:
            decoded = decoder.in_lanes(frames, lane_rules(lanes, networks.decoder_config, SAMPLE_RATE))
        for block in decoded:
            kept = block[: taken - given]  # the last frame was padded
            given += len(kept)
            yield kept


def _mono_blocks(blocks: Iterable[ArrayLike]) -> Iterator[Audio]:
    position = 0
    for block in blocks:
        samples = mono(block, first=position)
        position += len(samples)
        yield samples


def _joined(blocks: Iterable[Audio]) -> Audio:
    return np.concatenate([np.zeros(0, np.float32), *blocks])
