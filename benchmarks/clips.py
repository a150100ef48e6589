"""StarNet's clips as a model sees them: NNN.0.wav clarinet and vibraphone, NNN.3.wav the same by strings and piano."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import _musicstar_core as core
import numpy as np

from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.audio_reading import open_audio, read_mono
from musicstar_ext.runtime.gain import input_gain
from musicstar_ext.runtime.level import gated_level_dbfs
from musicstar_ext.runtime.networks import SAMPLE_RATE
from musicstar_ext.runtime.resampling import resample

STEMS = {"clarinet-vibraphone": "0", "strings-piano": "3"}


def read_clips(folder: Path, checkpoint: Checkpoint, side: str, seconds: float) -> np.ndarray:
    """All clips of the model's domain "source" or "target" as mu-law codes [clips, T].

    They are brought to the level that the model was trained at, and cut to whole code frames of the shortest clip or
    of `seconds`. Sorted by name, so the source clips and the target clips are the same pieces.

    Raises:
        UserError: the folder has no such clips.
    """
    stem = STEMS[checkpoint.domains[side]]
    paths = sorted(folder.glob(f"*.{stem}.wav"))
    if not paths:
        raise UserError(f"{folder}: no clips named NNN.{stem}.wav")
    clips = [_codes(path, checkpoint.levels[checkpoint.domains[side]]) for path in paths]
    pool = checkpoint.networks["decoder"].pool
    length = min(int(seconds * SAMPLE_RATE), *map(len, clips)) // pool * pool
    return np.stack([clip[:length] for clip in clips])


def encode(checkpoint: Checkpoint, codes: np.ndarray, precision: str = "fp32", device: int | None = None) -> np.ndarray:
    """[clips, T] -> code frames [clips, F, C], on the CPU or on the GPU of that index."""
    sizes, weights = dataclasses.asdict(checkpoint.networks["encoder"]), checkpoint.weights["encoder"]
    encoder: core.Encoder | core.CudaEncoder
    if device is None:
        encoder = core.Encoder(sizes, weights, precision=precision)
    else:
        encoder = core.CudaEncoder(sizes, weights, device, precision)
    return np.stack([np.concatenate([encoder.push(clip), encoder.finish()]) for clip in codes])


def _codes(path: Path, level: float) -> np.ndarray:
    source = open_audio(path)
    audio = np.concatenate(list(resample(read_mono(source), source.rate, SAMPLE_RATE)))
    return core.mu_law_encode((audio * np.float32(input_gain(gated_level_dbfs(audio), level))).astype(np.float32))
