"""Arrays that are slow to compute, kept on the disk under a hash of the audio that they were computed from.

An entry is a file of its own, written whole or not at all, so any number of processes may share a folder. A damaged
entry is computed again.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .atomic import replacing
from .errors import UserError

Arrays = dict[str, NDArray]

ENVIRONMENT = "MUSICSTAR_CACHE"


def default_folder() -> Path:
    """`$MUSICSTAR_CACHE`, or `musicstar_ext` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "musicstar_ext"
    except RuntimeError:  # a user without a home
        raise UserError(f"no folder for the cache: set {ENVIRONMENT}") from None


class Cache:
    """Computed arrays in a folder, made when first needed.

    Args:
        folder: None keeps nothing: everything is computed each time.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    def user(cls) -> Cache:
        """The default folder, or none where that cannot be written: nobody asked for it."""
        try:
            folder = default_folder()
            folder.mkdir(parents=True, exist_ok=True)
            return cls(folder if os.access(folder, os.W_OK) else None)
        except (OSError, UserError):
            return cls(None)

    @classmethod
    def chosen(cls, folder: Path | None) -> Cache:
        """What a command's `--cache` says: the folder, or without one the user's."""
        return cls.user() if folder is None else cls.at(folder)

    @classmethod
    def at(cls, folder: Path) -> Cache:
        """A folder that a user named.

        Raises:
            UserError: it cannot be made or written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be the cache: {error.strerror or error}") from None
        if not os.access(folder, os.W_OK):
            raise UserError(f"{folder}: cannot be the cache: not writable")
        return cls(folder)

    def arrays(
        self, kind: str, samples: NDArray, compute: Callable[[], Mapping[str, NDArray]], *settings: object
    ) -> Arrays:
        """What `compute` returns for `samples`, from the disk where it is there.

        Args:
            kind: what is computed, e.g. "melodia": the name of a sub-folder.
            settings: whatever else the result depends on, e.g. a sample rate and a library's version.
        """
        if self.folder is None:
            return dict(compute())
        digest = hashlib.sha256(repr((samples.dtype.str, samples.shape, settings)).encode())
        digest.update(np.ascontiguousarray(samples).tobytes())
        path = self.folder / kind / f"{digest.hexdigest()}.npz"
        found = _load(path)
        if found is None:
            found = dict(compute())
            data = io.BytesIO()
            np.savez(data, allow_pickle=False, **found)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{path.parent}: cannot be written: {error.strerror or error}") from None
            with replacing(path) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(data.getvalue())
        return found


def _load(path: Path) -> Arrays | None:
    try:
        # numpy leaves a file open that it opens and finds damaged
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
            return {name: entry[name] for name in entry.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile):
        return None
