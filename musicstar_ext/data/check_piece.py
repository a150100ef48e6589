"""What can be wrong with one piece of a prepared set: its files, its tracks, and how they fit together.

The limits were set on StarNet's own recordings, where a mixture is not the sum of its stems: the best gains for the
stems leave -4 to -32 dB of it, and all of it (-0.3 to 0 dB) where the mixture is another piece's. Onsets of the two
domains correlate with 0.33 to 0.55 there, those of different pieces with at most 0.07. (Different pieces in one strict
rhythm and tempo, such as machines play, correlate with more, and can pass.)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.level import LevelMeter

from .alignment import FRAMES_PER_SECOND, correlation, onsets
from .prepared import NOTES, read_notes
from .wav import WavSamples, find_samples

FULL_SCALE = 32767
MOST_CLIPPED = 1e-3  # share of the samples
MOST_OFFSET = 0.05  # of full scale, the mean of the samples
MOST_RESIDUAL = -3.0  # dB, what the stems leave of their mixture
LEAST_HEARD = -20.0  # dB, what a stem is of its mixture
LEAST_CORRELATION = 0.15  # of the onsets of two domains
MOST_LAG = 0.1  # seconds between two domains
SEARCHED = 2.0  # seconds, how far apart two domains are looked for
SHORTEST = 5.0  # seconds of music from which an alignment can be told
LEVEL_TOLERANCE = 0.1  # dB
NOTE_TOLERANCE = 0.05  # seconds
AT_A_TIME = 1 << 18  # samples


@dataclass
class CheckedPiece:
    """What was found.

    Attributes:
        problems: a line each.
        hashes: {track: of its samples}, for those that can be read and are not silent.
        levels: {track: gated level in dBFS, -inf for silence}.
        clipped: {track: share of samples at full scale}.
        has_notes: whether there are notes beside the audio.
    """

    problems: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    clipped: dict[str, float] = field(default_factory=dict)
    has_notes: bool = False


def check_piece(
    folder: Path,
    samples: int,
    sample_rate: int,
    channels: int,
    domains: Mapping[str, Sequence[str]],
    levels: Mapping[str, Any] | None,
) -> CheckedPiece:
    """Check a piece's folder.

    Args:
        samples, sample_rate, channels: what its tracks must have.
        domains: {domain: stems}.
        levels: {track: dBFS or None} as its entry of `dataset.json` says; None where it says nothing.
    """
    checked = CheckedPiece()
    names = [track for domain, stems in domains.items() for track in (*stems, domain)]
    tracks: dict[str, NDArray[np.int16]] = {}
    for track in names:
        try:
            wav = find_samples(folder / f"{track}.wav")
            wrong = _wrong_kind(wav, samples, sample_rate, channels)
            if wrong:
                checked.problems.append(f"{track}: {wrong}")
            else:
                tracks[track] = wav.memory_map()
        except UserError as error:
            checked.problems.append(f"{track}: {error}".replace(f"{folder}/{track}.wav: ", ""))
    _check_notes(folder, samples / sample_rate, domains, checked)
    products = _go_through(tracks, checked)
    for track in tracks:
        _check_level(track, levels, checked)
    for domain, stems in domains.items():
        group = (*stems, domain)
        if all(track in checked.hashes for track in group):  # there, and not silent
            index = [list(tracks).index(track) for track in group]
            checked.problems += _misfits(domain, stems, products[np.ix_(index, index)])
    if samples >= SHORTEST * sample_rate:
        mixtures = {domain: _mono(tracks[domain]) for domain in domains if domain in checked.hashes}
        checked.problems += _misaligned(mixtures, sample_rate)
    return checked


def _wrong_kind(wav: WavSamples, samples: int, sample_rate: int, channels: int) -> str | None:
    if wav.sample_rate != sample_rate:
        return f"has {wav.sample_rate} Hz, the set has {sample_rate} Hz"
    if wav.channels != channels:
        return f"number of channels is {wav.channels}, the set's is {channels}"
    if wav.count != samples:
        return f"has {wav.count} samples, dataset.json says {samples}"
    return None


def _check_notes(folder: Path, seconds: float, domains: Mapping[str, Sequence[str]], checked: CheckedPiece) -> None:
    stems = [stem for of_domain in domains.values() for stem in of_domain]
    try:
        notes = read_notes(folder / NOTES, stems)
    except UserError as error:
        checked.problems.append(str(error).replace(f"{folder}/", ""))
        return
    if notes is None:
        return
    checked.has_notes = True
    for stem in stems:
        if stem not in notes or not len(notes[stem]):
            checked.problems.append(f"{NOTES} has no notes of {stem}")
            continue
        late = int(np.count_nonzero(notes[stem][:, 0] + notes[stem][:, 1] > seconds + NOTE_TOLERANCE))
        if late:
            end = float((notes[stem][:, 0] + notes[stem][:, 1]).max())
            checked.problems.append(
                f"{NOTES}: {late} notes of {stem} end after the audio ({end:.2f} of {seconds:.2f} s)"
            )


def _go_through(tracks: Mapping[str, NDArray[np.int16]], checked: CheckedPiece) -> NDArray[np.float64]:
    """Look at all samples, block by block: levels, hashes, clipping, offsets. The tracks' covariances, unnormalised."""
    if not tracks:
        return np.zeros((0, 0))
    audio = list(tracks.values())
    length = len(audio[0])
    products, sums = np.zeros((len(audio), len(audio))), np.zeros(len(audio))
    meters = [LevelMeter() for _ in audio]
    hashes = [hashlib.blake2b(digest_size=16) for _ in audio]
    clipped = [0] * len(audio)
    for start in range(0, length, AT_A_TIME):
        block = np.empty((len(audio), min(AT_A_TIME, length - start)), np.float32)
        for index, samples in enumerate(audio):
            part = np.ascontiguousarray(samples[start : start + AT_A_TIME])
            hashes[index].update(part.data)
            clipped[index] += int(np.count_nonzero((part >= FULL_SCALE) | (part <= -FULL_SCALE)))
            block[index] = _mono(part)
            meters[index].update(block[index])
        products += (block @ block.T).astype(np.float64)
        sums += block.sum(axis=1, dtype=np.float64)
    for index, track in enumerate(tracks):
        checked.levels[track] = meters[index].dbfs
        checked.clipped[track] = clipped[index] / max(audio[index].size, 1)
        if not math.isfinite(checked.levels[track]):
            checked.problems.append(f"{track}: is silent")
            continue
        checked.hashes[track] = hashes[index].hexdigest()
        if checked.clipped[track] > MOST_CLIPPED:
            checked.problems.append(f"{track}: {100 * checked.clipped[track]:.2f} % of its samples are at full scale")
        offset = sums[index] / length
        if abs(offset) > MOST_OFFSET:
            checked.problems.append(f"{track}: has an offset: its mean is {offset:+.3f} of full scale")
    covariances: NDArray[np.float64] = products - np.outer(sums, sums) / max(length, 1)
    return covariances


def _check_level(track: str, levels: Mapping[str, Any] | None, checked: CheckedPiece) -> None:
    if levels is None:
        return
    said, found = levels.get(track), checked.levels[track]
    if isinstance(said, (int, float)) != math.isfinite(found) or (
        isinstance(said, (int, float)) and abs(said - found) > LEVEL_TOLERANCE
    ):
        text = f"{said:.1f} dBFS" if isinstance(said, (int, float)) else "silence"
        measured = f"{found:.1f} dBFS" if math.isfinite(found) else "silence"
        checked.problems.append(f"{track}: dataset.json says {text}, it has {measured}")


def _misfits(domain: str, stems: Sequence[str], covariances: NDArray[np.float64]) -> list[str]:
    """What does not fit between stems and their mixture, from the covariances of (*stems, mixture).

    The gains g that leave least of the mixture m, |m - S g|^2, solve (S'S) g = S'm.
    """
    within, across, total = covariances[:-1, :-1], covariances[:-1, -1], float(covariances[-1, -1])
    gains = np.linalg.lstsq(within, across, rcond=None)[0]
    problems = []
    for stem, gain, energy in zip(stems, gains.tolist(), np.diagonal(within).tolist(), strict=True):
        heard = _decibels(gain**2 * energy, total)
        if heard < LEAST_HEARD:
            problems.append(f"{stem}: is hardly heard in {domain} ({heard:.0f} dB): does it belong to it?")
        elif gain < 0:
            problems.append(f"{stem}: is in {domain} with the opposite sign")
    residual = _decibels(total - float(gains @ across), total)
    if residual > MOST_RESIDUAL:
        problems.append(f"{domain}: its stems leave {residual:.1f} dB of it: do they belong to it?")
    return problems


def _misaligned(mixtures: Mapping[str, NDArray[np.float32]], sample_rate: int) -> list[str]:
    """Domains that do not play what the first one plays, or later or earlier."""
    problems: list[str] = []
    most = round(SEARCHED * FRAMES_PER_SECOND)
    domains = iter(mixtures)
    first = next(domains, None)
    if first is None or len(mixtures) == 1:
        return []
    reference = onsets(mixtures[first], sample_rate)
    for domain in domains:
        correlations = correlation(reference, onsets(mixtures[domain], sample_rate), most)
        lag = (int(correlations.argmax()) - most) / FRAMES_PER_SECOND
        if correlations.max() < LEAST_CORRELATION:
            how = f"correlation of their onsets {correlations.max():.2f}"
            problems.append(f"{domain}: does not seem to play the same music as {first} ({how})")
        elif abs(lag) > MOST_LAG:
            problems.append(f"{domain}: is {abs(lag):.2f} s {'later' if lag > 0 else 'earlier'} than {first}")
    return problems


def _mono(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """[N] or [N, channels] -> [N], full scale at 1."""
    scaled = samples.astype(np.float32) / np.float32(32768)
    return scaled if scaled.ndim == 1 else scaled.mean(axis=1)


def _decibels(part: float, whole: float) -> float:
    return 10 * math.log10(part / whole) if part > 0 and whole > 0 else -math.inf
