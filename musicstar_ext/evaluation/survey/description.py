"""What a listening test compares: pieces, each with an input, a gold recording and one output a method."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError
from musicstar_ext.runtime.jobs import AUDIO_SUFFIXES

from .protocol import FEWEST_METHODS, MOST_METHODS

DEFAULT_TITLE = "Listening test"
MOST_PIECES = 100
LONGEST_TEXT = 200
LARGEST_DESCRIPTION = 4 << 20  # bytes


@dataclass(frozen=True)
class PieceFiles:
    """One piece; `outputs` has a file for each method."""

    name: str
    input: Path
    gold: Path
    outputs: dict[str, Path]


@dataclass(frozen=True)
class Description:
    """A whole test. The two labels tell raters what input and reference are, e.g. "strings and piano"."""

    title: str
    input_label: str
    gold_label: str
    methods: tuple[str, ...]
    pieces: tuple[PieceFiles, ...]


@dataclass(frozen=True)
class Texts:
    """What raters read; None where it is left to the description or the default."""

    title: str | None = None
    input_label: str | None = None
    gold_label: str | None = None


def from_folders(
    input_folder: Path,
    gold_folder: Path,
    methods: Sequence[tuple[str, Path]],
    pieces: Sequence[str] | None = None,
    texts: Texts | None = None,
) -> Description:
    """Match files by name, whatever their suffix: `input/a.wav`, `gold/a.flac` and `method/a.wav` are one piece.

    Args:
        input_folder: the recordings that the methods were given.
        gold_folder: the same pieces on the target instruments.
        methods: (name, folder of outputs), in the order of the tables.
        pieces: which, in which order; all that the input folder has by default.
        texts: what raters read.

    Raises:
        UserError: a folder that is missing or has no audio, a piece that is missing in one, two files of one name,
            or what `check` refuses.
    """
    _check_methods([name for name, _ in methods])
    inputs, golds = _audio_by_name(input_folder), _audio_by_name(gold_folder)
    outputs = {method: _audio_by_name(folder) for method, folder in methods}
    folders = dict(methods)
    if pieces is None:
        names = [name for name in inputs if name in golds]
        if not names:
            raise UserError(f"{gold_folder}: no file has the name of one in {input_folder}")
    else:
        names = list(pieces)

    def find(files: dict[str, Path], name: str, folder: Path) -> Path:
        if name not in files:
            raise UserError(f"{folder}: no audio file for the piece {name!r}")
        return files[name]

    found = tuple(
        PieceFiles(
            name,
            find(inputs, name, input_folder),
            find(golds, name, gold_folder),
            {method: find(files, name, folders[method]) for method, files in outputs.items()},
        )
        for name in names
    )
    return _checked(texts or Texts(), {}, tuple(folders), found)


def from_json(path: Path, texts: Texts | None = None) -> Description:
    """Read a description: {"pieces": [{"name", "input", "gold", "outputs": {METHOD: FILE}}], "title", ...}.

    Paths in it are relative to its folder; `title`, `input_label`, `gold_label` are optional, and `texts` goes first.

    Raises:
        UserError: not such a file; a piece without one of the methods; or what `check` refuses.
    """
    content = read_json(path, LARGEST_DESCRIPTION)

    def problem(text: str) -> UserError:
        return UserError(f"{path}: {text}")

    if not isinstance(content, dict):
        raise problem("must be a JSON object")
    known = {"pieces", "title", "input_label", "gold_label"}
    if unknown := sorted(set(content) - known):
        raise problem(f"unknown entry {unknown[0]!r} (there are {', '.join(sorted(known))})")
    listed = content.get("pieces")
    if not isinstance(listed, list) or not listed:
        raise problem('"pieces" must be a list of pieces')
    pieces = []
    methods: tuple[str, ...] = ()
    for number, entry in enumerate(listed, 1):
        if not isinstance(entry, dict) or set(entry) != {"name", "input", "gold", "outputs"}:
            raise problem(f"piece {number} must have exactly the entries name, input, gold and outputs")
        outputs = entry["outputs"]
        texts_given = [entry["name"], entry["input"], entry["gold"]]
        if not isinstance(outputs, dict) or not all(isinstance(t, str) for t in [*texts_given, *outputs.values()]):
            raise problem(f"piece {number}: name, input, gold and each method's output must be texts")
        methods = methods or tuple(outputs)
        if set(outputs) != set(methods):
            odd = sorted(set(outputs) ^ set(methods))[0]
            raise problem(f"piece {number}: every piece needs the same methods, and {odd!r} is not in all")
        folder = path.parent
        pieces.append(
            PieceFiles(
                entry["name"],
                folder / entry["input"],
                folder / entry["gold"],
                {method: folder / outputs[method] for method in methods},
            )
        )
    try:
        _check_methods(methods)
        return _checked(texts or Texts(), content, methods, tuple(pieces))
    except UserError as error:
        raise problem(str(error)) from None


def read_json(path: Path, largest: int) -> Any:
    """A JSON file's content.

    Raises:
        UserError: missing, unreadable, larger than `largest` bytes, or not JSON in UTF-8.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not a JSON file")
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > largest:
        raise UserError(f"{path}: larger than {largest >> 20} MiB")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        raise UserError(f"{path}: not JSON: {error}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return content


def _audio_by_name(folder: Path) -> dict[str, Path]:
    try:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder" if not folder.exists() else f"{folder}: is not a folder")
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in AUDIO_SUFFIXES and not p.name.startswith("."))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not files:
        raise UserError(f"{folder}: no audio files in this folder")
    named: dict[str, Path] = {}
    for path in files:
        if path.stem in named:
            raise UserError(f"{folder}: {named[path.stem].name} and {path.name} would be the same piece")
        named[path.stem] = path
    return named


def _check_methods(names: Sequence[str]) -> None:
    for name in names:
        _check_text(name, "a method's name")
        if names.count(name) > 1:
            raise UserError(f"two methods are called {name!r}")
    if not FEWEST_METHODS <= len(names) <= MOST_METHODS:
        raise UserError(f"a ranking needs {FEWEST_METHODS} to {MOST_METHODS} methods, not {len(names)}")


def _checked(
    texts: Texts, content: dict[str, Any], methods: tuple[str, ...], pieces: tuple[PieceFiles, ...]
) -> Description:
    if len(pieces) > MOST_PIECES:
        raise UserError(f"{len(pieces)} pieces are more than anyone will listen to (at most {MOST_PIECES})")
    names = [piece.name for piece in pieces]
    for piece in pieces:
        _check_text(piece.name, "a piece's name")
        if names.count(piece.name) > 1:
            raise UserError(f"the piece {piece.name!r} is there twice")
        # One file as two methods' output is a slip; the input or the gold as an output is an anchor.
        places: dict[str, str] = {}
        for method, path in piece.outputs.items():
            place = os.path.realpath(path)
            if place in places:
                raise UserError(f"{path}: is the output of both {places[place]} and {method}")
            places[place] = method

    def text(name: str, given: str | None, default: str) -> str:
        value = given if given is not None else content.get(name, default)
        _check_text(value, name)
        return str(value).strip()

    return Description(
        text("title", texts.title, DEFAULT_TITLE),
        text("input_label", texts.input_label, "what the methods were given"),
        text("gold_label", texts.gold_label, "the same music, really played on the target instruments"),
        methods,
        pieces,
    )


def _check_text(value: object, what: str) -> None:
    good = isinstance(value, str) and value.strip() and len(value) <= LONGEST_TEXT
    if not good or any(unicodedata.category(c) in ("Cc", "Cs") for c in str(value)):
        raise UserError(f"{what} must be 1 to {LONGEST_TEXT} printable characters, not {value!r:.60}")
