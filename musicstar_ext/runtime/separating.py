"""Stems out of a mixture, by the separator that a checkpoint holds; torch is imported here and only then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import MissingExtraError, UserError

from .engine import Engine
from .in_step import copies
from .networks import SAMPLE_RATE
from .resampling import resample, resampled_length
from .samples import Audio, with_channels

if TYPE_CHECKING:
    from musicstar_ext.separation import Separator


class StemSeparator:
    """A checkpoint's separator at the rates of the recording and of the model.

    Raises:
        UserError: torch or demucs is missing, or the separator gives other stems than the branches hear.
    """

    def __init__(self, checkpoint: Checkpoint, stems: Iterable[str], engine: Engine) -> None:
        try:
            from musicstar_ext.separation import load_separator
        except ImportError as error:
            if isinstance(error, UserError):
                raise
            raise MissingExtraError((error.name or "torch").split(".")[0], "separation") from None
        # torch may have no CUDA where the core has it: the separator then runs on the CPU.
        device = "cpu"
        if engine.gpu is not None:
            from musicstar_ext.separation import torch_device

            device = torch_device(engine.device)
        self.separator: Separator = load_separator(checkpoint, device=device, threads=engine.threads)
        self.stems = tuple(stems)
        missing = [stem for stem in self.stems if stem not in self.separator.stems]
        if missing:
            found = ", ".join(self.separator.stems)
            raise UserError(f"the model's branches hear {missing[0]!r}, its separator gives {found}")

    def separate(self, blocks: Iterable[ArrayLike], sample_rate: float, gain: float) -> dict[str, Iterator[Audio]]:
        """Take a recording apart as it comes.

        Args:
            blocks: [n] or [n, channels] each.
            sample_rate: of `blocks`, in hertz.
            gain: the recording is multiplied with it first.

        Returns:
            {stem: blocks of [n] float32 at 16 kHz}, each of the recording's duration to the sample. To be read in step:
            what the fastest reader has had is kept for the slowest.
        """
        channels, rate = self.separator.channels, self.separator.sample_rate
        taken = 0

        def heard() -> Iterator[Audio]:
            nonlocal taken
            for block in blocks:
                samples = with_channels(block, channels, first=taken)
                taken += len(samples)
                yield samples * np.float32(gain)

        def at_model_rate(parts: Iterable[Mapping[str, Audio]], stem: str) -> Iterator[Audio]:
            given = 0
            for audio in resample((part[stem] for part in parts), rate, SAMPLE_RATE):
                # Two roundings, to the separator's rate and from it, may make a sample too many or too few.
                kept = audio[: resampled_length(taken, sample_rate, SAMPLE_RATE) - given]
                given += len(kept)
                yield kept
            missing = resampled_length(taken, sample_rate, SAMPLE_RATE) - given
            if missing:
                yield np.zeros(missing, np.float32)

        parts = self.separator.separate(resample(heard(), sample_rate, rate, channels))
        return {
            stem: at_model_rate(copy, stem)
            for stem, copy in zip(self.stems, copies(parts, len(self.stems)), strict=True)
        }
