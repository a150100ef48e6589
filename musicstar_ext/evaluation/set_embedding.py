"""Folders of recordings -> embeddings of all their 3 s patches."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.cache import Cache
from musicstar_ext.errors import UserError
from musicstar_ext.features.musicnn import Musicnn
from musicstar_ext.runtime.jobs import AUDIO_SUFFIXES
from musicstar_ext.runtime.samples import Audio

from .frechet import LAYER


def audio_files(folder: Path) -> list[Path]:
    """The audio files in a folder and those below it, sorted; hidden ones do not count.

    Raises:
        UserError: no such folder, one that cannot be read, or one without audio.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    try:
        found = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in AUDIO_SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror or error}") from None
    if not found:
        raise UserError(f"{folder}: no audio files in this folder")
    return found


def embed(network: Musicnn, samples: Audio, cache: Cache | None = None) -> NDArray[np.float32]:
    """Embeddings of a 16 kHz recording: [patches, 128]."""
    found = (cache or Cache(None)).arrays(
        "musicnn", samples, lambda: network.features(samples, [LAYER]), LAYER, _fingerprint(network)
    )
    return found[LAYER]


def _fingerprint(network: Musicnn) -> str:
    """Which weights: other ones are other features."""
    return hashlib.sha256(network.network.tags.weight.detach().numpy().tobytes()).hexdigest()
