"""What of the tracks can be heard on the hierarchy's page: short excerpts inside it, or links to the files."""

from __future__ import annotations

import base64
import io
import os
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.audio_reading import open_audio
from musicstar_ext.runtime.resampling import resample
from musicstar_ext.runtime.samples import Audio

from .concept_file import ConceptSet

RATE = 16_000
FADE = 0.01  # seconds: an excerpt begins and ends without a click

Examples = list[list[tuple[int, float]]]


@dataclass
class Heard:
    """{track: FLAC in base64} and {track: link}, and one line for each thing worth knowing."""

    excerpts: dict[int, str] = field(default_factory=dict)
    links: dict[int, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def examples(concepts: ConceptSet, count: int) -> Examples:
    """The tracks of each concept on which it fires most, at most `count`: [concepts][(track, score)]."""
    result: Examples = []
    for concept in range(len(concepts.names)):
        tracks = np.flatnonzero(concepts.members[:, concept])
        logits = concepts.features[tracks].astype(np.float64) @ concepts.vectors[concept] + concepts.biases[concept]
        best = np.argsort(-logits, kind="stable")[:count]
        scores = 0.5 * (1 + np.tanh(logits[best] / 2))
        result.append([(int(track), float(score)) for track, score in zip(tracks[best], scores, strict=True)])
    return result


def embedded(
    tracks: Sequence[str], wanted: Examples, folders: Sequence[Path], seconds: float, most_bytes: int
) -> Heard:
    """Excerpts from the middle of the wanted tracks. Every concept's first track comes before any second one, until the
    page would be larger than `most_bytes`.
    """
    heard = Heard()
    missing, size = 0, 0
    queue = _first_tracks_first(wanted)
    for number, track in enumerate(queue):
        path = _find(tracks[track], folders)
        if path is None:
            missing += 1
            continue
        try:
            text = base64.b64encode(_flac(excerpt(path, seconds))).decode()
        except UserError as error:
            heard.warnings.append(f"{error} (cannot be played on the page)")
            continue
        size += len(text)
        if size > most_bytes:
            heard.warnings.append(
                f"{len(queue) - number} of {len(queue)} tracks are without sound: the page would be larger than "
                f"{most_bytes / 1e6:.0f} MB (--audio-megabytes, or --audio link)"
            )
            break
        heard.excerpts[track] = text
    _say_missing(heard, missing, len(queue))
    return heard


def linked(tracks: Sequence[str], wanted: Examples, folders: Sequence[Path], page: Path) -> Heard:
    """Links, relative to the page, to the whole files of the wanted tracks."""
    heard = Heard()
    missing = 0
    queue = _first_tracks_first(wanted)
    base = page.resolve().parent
    for track in queue:
        path = _find(tracks[track], folders)
        if path is None:
            missing += 1
        else:
            relative = Path(os.path.relpath(path.resolve(), base)).as_posix()
            heard.links[track] = urllib.parse.quote(relative)
    _say_missing(heard, missing, len(queue))
    return heard


def excerpt(path: Path, seconds: float) -> Audio:
    """[N] at 16 kHz, mono: that long, from the middle of the file.

    Raises:
        UserError: not audio, or damaged.
    """
    file = open_audio(path)
    frames = min(file.frames, round(seconds * file.rate))
    start = (file.frames - frames) // 2
    try:
        samples, _ = soundfile.read(path, frames, start, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise UserError(f"{path}: holds a sample that is not finite")
    blocks = list(resample([mono], file.rate, RATE))
    result = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    fade = min(len(result) // 2, round(FADE * RATE))
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        result[:fade] *= ramp
        result[len(result) - fade :] *= ramp[::-1]
    return np.clip(result, -1, 1)


def _flac(samples: Audio) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _first_tracks_first(wanted: Examples) -> list[int]:
    most = max((len(tracks) for tracks in wanted), default=0)
    queue: Iterable[int] = (tracks[n][0] for n in range(most) for tracks in wanted if n < len(tracks))
    return list(dict.fromkeys(queue))


def _find(track: str, folders: Sequence[Path]) -> Path | None:
    """The first file of that name."""
    for folder in folders:
        path = folder / track
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):
            return None
    return None


def _say_missing(heard: Heard, missing: int, all_tracks: int) -> None:
    if missing:
        heard.warnings.append(
            f"{missing} of {all_tracks} tracks are without sound: no such files (--audio-root says where they are)"
        )
