"""What a translate command's IN and OUT mean: which files are read, and where each result goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from musicstar_ext.errors import UserError

from .audio_reading import AudioFile, open_audio
from .audio_writing import check_target

# What counts as audio in a folder; a file that is named on its own may be called anything.
AUDIO_SUFFIXES = frozenset(
    (".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav")
)
OUTPUT_SUFFIX = ".wav"


@dataclass(frozen=True)
class Job:
    """One recording, whole or as {stem: file}, and the file that its translation becomes."""

    source: AudioFile | dict[str, AudioFile]
    target: Path

    @property
    def files(self) -> list[AudioFile]:
        """All that are read."""
        return [self.source] if isinstance(self.source, AudioFile) else list(self.source.values())

    @property
    def stems(self) -> list[str]:
        """What the files are; nothing for a whole recording."""
        return [] if isinstance(self.source, AudioFile) else list(self.source)


def plan_jobs(inputs: Sequence[str], output: str) -> list[Job]:
    """Find all inputs and outputs and check them before anything is translated or written.

    An input is a file, a folder (the audio files in it, sorted, not those in folders below), or a pattern with * ? [ ]
    (** for any depth). A single file is translated to the file `output`. Anything else makes `output` a folder with one
    WAV for each input, under its name; so does an `output` that ends in a slash.

    Raises:
        UserError: an input that is missing or not audio, a folder without audio, a pattern without match; an output
            that is a folder where a file is meant (or the reverse), that two inputs share, or that is itself an input.
    """
    paths = [path for text in inputs for path in _expand(text)]
    into_folder = output.endswith(("/", os.sep)) or len(inputs) > 1 or paths != [Path(inputs[0])]
    sources = [open_audio(path) for path in paths]
    folder = Path(output)
    if into_folder:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: the output must be a folder here, and is a file")
        targets = [folder / f"{path.stem}{OUTPUT_SUFFIX}" for path in paths]
    else:
        targets = [folder]
    _check_distinct(paths, targets)
    for target in targets:
        if target.parent.exists() or not into_folder:
            check_target(target)
        else:
            _check_can_be_made(target.parent)
    return [Job(source, target) for source, target in zip(sources, targets, strict=True)]


def plan_stems(inputs: Sequence[str], stems: Sequence[str], output: str) -> Job:
    """Find the stems of one recording: `inputs` are files, `stems` says what each of them is.

    Raises:
        UserError: not as many files as stems, a name that is empty or there twice, a file that is missing, not audio,
            or given for two stems; an output that is a folder or itself an input.
    """
    names = [stem.strip() for stem in stems]
    for name in names:
        if not name or names.count(name) > 1:
            raise UserError(f"--stems names {'no stem' if not name else f'{name!r} twice'} in {','.join(stems)!r}")
    if len(inputs) != len(names):
        raise UserError(f"--stems names {len(names)} stems ({', '.join(names)}), and there are {len(inputs)} inputs")
    files = dict(zip(names, [open_audio(Path(text)) for text in inputs], strict=True))
    places = [os.path.realpath(text) for text in inputs]
    for text, place in zip(inputs, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{text}: is given for two stems")
    target = Path(output)
    if output.endswith(("/", os.sep)) or target.is_dir():
        raise UserError(f"{output}: stems become one file, not a folder")
    if os.path.realpath(target) in places:
        raise UserError(f"{target}: the output is also an input")
    check_target(target)
    return Job(files, target)


def _expand(text: str) -> list[Path]:
    path = Path(text)
    try:
        if path.is_dir():
            found = sorted(
                p for p in path.iterdir() if p.suffix.lower() in AUDIO_SUFFIXES and not _hidden(p) and p.is_file()
            )
            if not found:
                raise UserError(f"{path}: no audio files in this folder")
            return found
        if path.exists() or not glob.has_magic(text):
            return [path]
    except (OSError, ValueError) as error:
        raise UserError(f"{text!r}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = sorted(Path(match) for match in glob.glob(text, recursive=True) if not Path(match).is_dir())
    if not found:
        raise UserError(f"{text}: no file matches this pattern")
    return found


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _check_distinct(inputs: list[Path], outputs: list[Path]) -> None:
    given = {os.path.realpath(path): path for path in inputs}
    taken: dict[str, Path] = {}
    for source, target in zip(inputs, outputs, strict=True):
        place = os.path.realpath(target)
        if place in given:
            raise UserError(f"{target}: the output is also an input")
        if place in taken:
            raise UserError(f"{target}: would be the output of both {taken[place]} and {source}")
        taken[place] = source


def _check_can_be_made(folder: Path) -> None:
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise UserError(f"{folder}: the folder cannot be made: {above} is a file")
