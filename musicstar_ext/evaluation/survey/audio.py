"""A piece's recordings made comparable: one channel, one rate, one length, equal loudness; and scripts for the page."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.audio_reading import open_audio, read_mono
from musicstar_ext.runtime.resampling import resample
from musicstar_ext.runtime.samples import Audio

from .description import PieceFiles
from .loudness import loudness_lufs, true_peak

HIGHEST_RATE = 48_000
SHORTEST, LONGEST = 0.5, 300.0  # seconds; browsers hold a piece's versions decoded in memory
LENGTH_TOLERANCE = 0.05  # seconds; larger differences get a line
TARGET_LUFS = -20.0
PEAK = 10 ** (-1 / 20)  # 1 dB below full scale, true peak: room for what a player's resampling adds


@dataclass(frozen=True)
class Recording:
    """[N] samples with the gain applied, and that gain in dB; loudness in LUFS (-inf: silence) after it."""

    samples: Audio
    gain_db: float
    loudness: float


def check_files(pieces: tuple[PieceFiles, ...]) -> tuple[int, list[str]]:
    """Read all headers, before anything is written.

    Returns the rate for the page (the highest of all files, at most 48 kHz, so that none loses anything) and warnings.

    Raises:
        UserError: a file that is missing, not audio, too short or too long.
    """
    rates: set[int] = set()
    for piece in pieces:
        for path in (piece.input, piece.gold, *piece.outputs.values()):
            audio = open_audio(path)
            seconds = audio.frames / audio.rate
            if not SHORTEST <= seconds <= LONGEST:
                raise UserError(f"{path}: {seconds:.2f} seconds; a piece must have {SHORTEST:g} to {LONGEST:g}")
            rates.add(audio.rate)
    rate = min(max(rates), HIGHEST_RATE)
    warnings = []
    if rates != {rate}:
        warnings.append(f"sample rates differ or exceed {HIGHEST_RATE} Hz ({_listed(rates)}): all become {rate} Hz")
    return rate, warnings


def comparable(piece: PieceFiles, rate: int, match_loudness: bool) -> tuple[dict[str, Recording], list[str]]:
    """All recordings of a piece ("input", "gold", then "output:METHOD") at `rate`, cut to the shortest, none clipped.

    With `match_loudness` all get the same loudness: -20 LUFS (BS.1770), or as much less as the peakiest of them needs
    to stay 1 dB below full scale; silence stays as it is. Otherwise all get one gain: 0 dB, or what keeps
    the highest peak 1 dB below full scale.

    Raises:
        UserError: damaged audio, or a sample that is NaN or infinite.
    """
    paths = {"input": piece.input, "gold": piece.gold}
    paths |= {f"output:{method}": path for method, path in piece.outputs.items()}
    loaded = {name: _read(path, rate) for name, path in paths.items()}
    lengths = {name: len(samples) for name, samples in loaded.items()}
    shortest = min(lengths, key=lambda name: lengths[name])
    warnings = []
    spread = (max(lengths.values()) - lengths[shortest]) / rate
    if spread > LENGTH_TOLERANCE:
        warnings.append(
            f"piece {piece.name}: lengths differ by {spread:.2f} s: "
            f"all are cut to the {lengths[shortest] / rate:.2f} s of {paths[shortest]}"
        )
    if lengths[shortest] < SHORTEST * rate:
        raise UserError(f"{paths[shortest]}: shorter than {SHORTEST:g} seconds")
    cut = {name: samples[: lengths[shortest]] for name, samples in loaded.items()}

    loudness = {name: loudness_lufs(samples, rate) for name, samples in cut.items()}
    peaks = {name: true_peak(samples, rate) for name, samples in cut.items()}
    warnings += [f"{paths[name]}: is silent" for name, value in loudness.items() if value == -math.inf]
    if match_loudness:
        heard = [name for name, value in loudness.items() if value > -math.inf]
        most = [loudness[name] + 20 * math.log10(PEAK / peaks[name]) for name in heard]
        target = min([TARGET_LUFS, *most])
        gains = {name: target - loudness[name] if name in heard else 0.0 for name in cut}
        if target < TARGET_LUFS - 10:
            peaky = paths[heard[most.index(min(most))]]
            warnings.append(f"piece {piece.name}: all play at {target:.0f} LUFS only, for {peaky} has such high peaks")
    else:
        gain = min(0.0, 20 * math.log10(PEAK / max(max(peaks.values()), PEAK)))
        gains = dict.fromkeys(cut, gain)
    recordings = {
        name: Recording(samples * np.float32(10 ** (gains[name] / 20)), gains[name], loudness[name] + gains[name])
        for name, samples in cut.items()
    }
    return recordings, warnings


def page_script(identifier: str, samples: Audio, rate: int) -> str:
    """A script that hands the page one recording: 16-bit FLAC in base64 (page/player.js says why a script).

    16 bits of FLAC carry no name, no date and no encoder delay.
    """
    codes = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    data = io.BytesIO()
    soundfile.write(data, codes, rate, format="FLAC", subtype="PCM_16")
    return f'musicstarAudio("{identifier}","{base64.b64encode(data.getvalue()).decode()}");\n'


def _read(path: Path, rate: int) -> Audio:
    audio = open_audio(path)
    blocks = list(resample(read_mono(audio), audio.rate, rate))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _listed(rates: set[int]) -> str:
    return ", ".join(str(rate) for rate in sorted(rates))
