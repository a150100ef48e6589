"""Recordings of a collection, one after the other: from folders, or from tar archives read as a stream.

An archive is never unpacked: its members come by once, in whatever order, and only those that are recordings of the
collection are copied out, to where the caller says: no name in an archive becomes a path. What an archive should not
have (names that lead out of it, links, devices) is reported and left out; where the archive itself is damaged, so that
what follows is unknown, that is an error.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from musicstar_ext.errors import UserError

from .layout import Layout

AT_A_TIME = 1 << 20  # bytes
LARGEST = 1 << 32  # bytes of a recording: what a WAV file can be
LARGEST_HEADER = 1 << 20  # bytes of a member's extended header; they are read into memory
MOST_REPORTS = 10  # of one archive
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError)

Report = Callable[[str], None]
Progress = Callable[[int], None]


class DamagedArchiveError(UserError):
    """An archive is damaged or truncated: what it held from there on is unknown."""


@dataclass(frozen=True)
class Recording:
    """A file of the collection.

    Attributes:
        name: of the file, without folders.
        size: bytes.
        label: where it is, for messages.
        path: where it lies, if it is a file of its own.
    """

    piece: str
    track: str
    name: str
    size: int
    label: str
    path: Path | None
    _contents: IO[bytes] | None = None

    def save(self, destination: Path) -> None:
        """Copy a member of an archive out, while it is its turn.

        Raises:
            DamagedArchiveError: the archive ends before it, or is damaged.
            OSError: `destination` cannot be written.
        """
        assert self._contents is not None
        with destination.open("wb") as file:
            left = self.size
            while left:
                try:
                    block = self._contents.read(min(left, AT_A_TIME))
                except _DAMAGE as error:
                    raise DamagedArchiveError(f"{self.label}: the archive is damaged here ({error})") from None
                if not block:
                    raise DamagedArchiveError(f"{self.label}: the archive is truncated here")
                file.write(block)
                left -= len(block)


def recordings_in(source: Path, layout: Layout, report: Report, progress: Progress) -> Iterator[Recording]:
    """The recordings in a folder and below, or in a tar archive (plain, or compressed with gzip, bzip2 or xz).

    Args:
        report: takes a line about each thing that is left out.
        progress: takes the bytes of an archive as they are read.

    Raises:
        UserError: it cannot be read, or is neither.
    """
    if source.is_dir():
        yield from _in_folder(source, layout, report)
    else:
        yield from _in_archive(source, layout, report, progress)


def check_source(source: Path) -> None:
    """Raises UserError where there is nothing to read: no such file or folder, or neither a folder nor an archive."""
    if source.is_dir():
        if not os.access(source, os.R_OK | os.X_OK):
            raise UserError(f"{source}: cannot be read: Permission denied")
        return
    if source.exists() and not source.is_file():
        raise UserError(f"{source}: neither a folder nor a tar archive")
    try:
        with source.open("rb") as raw, _unpacked(raw) as stream:
            start = stream.read(tarfile.BLOCKSIZE)
    except FileNotFoundError:
        raise UserError(f"{source}: no such file or folder") from None
    except PermissionError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    except _DAMAGE as error:
        raise DamagedArchiveError(f"{source}: damaged or truncated at its very start ({error})") from None
    try:
        tarfile.TarInfo.frombuf(start, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        raise UserError(f"{source}: neither a folder nor a tar archive") from None


def _in_folder(folder: Path, layout: Layout, report: Report) -> Iterator[Recording]:
    def unreadable(error: OSError) -> None:
        report(f"{error.filename}: cannot be read: {error.strerror}: left out")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            found = layout.match(PurePosixPath(path.as_posix()))
            if found is None:
                continue
            if not path.is_file():
                report(f"{path}: not a regular file: left out")
                continue
            yield Recording(*found, name, path.stat().st_size, str(path), path)


def _in_archive(archive: Path, layout: Layout, report: Report, progress: Progress) -> Iterator[Recording]:
    reports = 0

    def leave_out(member: tarfile.TarInfo, why: str) -> None:
        nonlocal reports
        reports += 1
        if reports <= MOST_REPORTS:
            report(f"{archive}: {member.name!r} {why}: left out")
        elif reports == MOST_REPORTS + 1:
            report(f"{archive}: and more such members")

    members = 0
    try:
        with (
            archive.open("rb") as raw,
            _unpacked(_Counted(raw, progress)) as stream,
            tarfile.open(fileobj=_Promised(stream), mode="r|", bufsize=AT_A_TIME, tarinfo=_Member) as tar,
        ):
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # they would pile up
                members += 1
                path = PurePosixPath(member.name)
                found = layout.match(path)
                if path.is_absolute() or ".." in path.parts:
                    leave_out(member, "leads out of the archive")
                elif not member.isdir() and (not member.isreg() or member.issparse()):
                    leave_out(member, "is a link, a device or the like")
                elif found and member.isreg() and member.size > LARGEST:
                    leave_out(member, f"has {member.size} bytes, more than a WAV file can have")
                elif found and member.isreg():
                    contents = tar.extractfile(member)
                    yield Recording(*found, path.name, member.size, f"{archive}: {member.name}", None, contents)
            while stream.read(AT_A_TIME):  # to the end, where the check sum is
                pass
    except DamagedArchiveError:
        raise
    except _DAMAGE as error:
        where = f"after {members} members" if members else "at its very start"
        raise DamagedArchiveError(f"{archive}: damaged or truncated {where} ({error})") from None


class _Member(tarfile.TarInfo):
    """A member whose header is checked: `tarfile` takes a damaged one, or none, for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the end, as it should be
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no header of a member: {error}") from None

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        """`tarfile` reads names and extended headers whole into memory, however long they say they are."""
        headers = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in (*headers, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK) and self.size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


class _Promised(io.RawIOBase):
    """An archive's bytes, of which `tarfile` never asks for more than were promised: so the end is an error.

    It would go on asking a damaged archive for the rest of a member of 2^60 bytes.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        if not block and size:
            raise EOFError("it ends too early")
        return block


class _Counted(io.RawIOBase):
    """A file that tells how many bytes were read from it."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._file, self._progress = file, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._progress(len(block))
        return len(block)


def _unpacked(file: Any) -> Any:
    """A stream of the archive's own bytes, whatever it is compressed with."""
    stream = io.BufferedReader(file, AT_A_TIME) if isinstance(file, io.RawIOBase) else file
    start = stream.peek(6)[:6]
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream, mode="rb")
    if start.startswith(b"BZh"):
        return bz2.BZ2File(stream, "rb")
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(stream, "rb")
    return stream
