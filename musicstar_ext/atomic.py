"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[int]:
    """A new file's descriptor, beside `path`: flushed and renamed to it when the block ends well, else gone.

    Readers of `path` see the old file or the whole new one.

    Raises:
        UserError: the folder cannot be written, or the disk is full; the old file is then untouched.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".musicstar-", suffix=".part")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk, then rename: readers see the old file or the whole new one.

    Raises:
        UserError: the folder cannot be written, or the disk is full; the old file is then untouched.
    """
    with replacing(path) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(data)
