"""The researcher's key, and what raters sent back: read, and believed only where everything fits."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError

from .description import read_json
from .protocol import FEWEST_METHODS, KEY_FORMAT, MOST_METHODS, QUESTIONS, RATER, RESULT_FORMAT, checksum, shuffled

LARGEST_FILE = 4 << 20  # bytes
HEARD = 1000  # milliseconds from which on a version counts as listened to
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_ENTRIES = {"format", "survey", "rater", "started", "finished", "device", "comment", "pieces", "checksum"}


@dataclass(frozen=True)
class KeyPiece:
    """One piece: its public id, its name, and the method behind each public id."""

    id: str
    name: str
    outputs: dict[str, str]


@dataclass(frozen=True)
class Key:
    """What OUT/key.json says."""

    survey: str
    title: str
    methods: tuple[str, ...]
    pieces: tuple[KeyPiece, ...]


@dataclass(frozen=True)
class Result:
    """One rater's rankings: `ranks[piece id][question id]` lists methods, best first.

    `unheard` counts the versions that were ranked after less than a second of listening.
    """

    path: Path
    rater: str
    finished: str
    device: str
    comment: str
    ranks: dict[str, dict[str, tuple[str, ...]]]
    unheard: int


def read_key(path: Path) -> Key:
    """Read the key.json of `build_survey`.

    Raises:
        UserError: not such a file.
    """
    content = read_json(path, LARGEST_FILE)
    if not isinstance(content, dict) or content.get("format") != KEY_FORMAT:
        raise UserError(f"{path}: not the key of a listening test ({KEY_FORMAT})")
    try:
        methods = tuple(content["methods"])
        pieces = tuple(KeyPiece(entry["id"], entry["name"], dict(entry["outputs"])) for entry in content["pieces"])
        key = Key(content["survey"], content["title"], methods, pieces)
        texts = [key.survey, key.title, *methods]
        for piece in pieces:
            texts += [piece.id, piece.name, *piece.outputs.values()]
        whole = (
            all(isinstance(text, str) for text in texts)
            and FEWEST_METHODS <= len(methods) == len(set(methods)) <= MOST_METHODS
            and bool(pieces)
            and len({piece.id for piece in pieces}) == len(pieces)
            and all(sorted(piece.outputs.values()) == sorted(methods) for piece in pieces)
        )
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise UserError(f"{path}: a damaged key: its methods and pieces do not fit together")
    return key


def find_results(paths: Sequence[Path], key: Path) -> list[Path]:
    """The files named, and the .json files in the folders named (but for the key), each once.

    Raises:
        UserError: a folder without such files, or one that cannot be read.
    """
    found: dict[str, Path] = {}
    for path in paths:
        inside = [path]
        try:
            if path.is_dir():
                inside = [
                    p
                    for p in sorted(path.iterdir())
                    if p.suffix.lower() == ".json" and os.path.realpath(p) != os.path.realpath(key)
                ]
                if not inside:
                    raise UserError(f"{path}: no .json files in this folder")
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        for file in inside:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def read_result(path: Path, key: Key) -> Result:
    """Read and check one rater's file.

    Raises:
        UserError: not a result; of another survey; changed after it was saved; incomplete; or with rankings or orders
            that the page cannot have made.
    """
    content = read_json(path, LARGEST_FILE)

    def problem(text: str) -> UserError:
        return UserError(f"{path}: {text}")

    if not isinstance(content, dict) or content.get("format") != RESULT_FORMAT:
        raise problem(f"not a result of a listening test ({RESULT_FORMAT})")
    if content.get("survey") != key.survey:
        raise problem(f"belongs to another listening test ({content.get('survey')!r:.40}, not {key.survey!r})")
    try:
        computed = checksum(content)
    except (ValueError, TypeError, RecursionError):
        computed = ""
    if content.get("checksum") != computed:
        raise problem("was changed after the rater saved it (its checksum is wrong)")
    if set(content) != _ENTRIES:
        raise problem(f"has the wrong entries: {', '.join(sorted(set(content) ^ _ENTRIES))}")
    rater = content["rater"]
    if not isinstance(rater, str) or not RATER.fullmatch(rater):
        raise problem("the rater's name is not one that the page accepts")
    for name in ("started", "finished"):
        if not isinstance(content[name], str) or not _TIME.fullmatch(content[name]):
            raise problem(f"{name!r} is not a time")
    if not isinstance(content["device"], str) or not isinstance(content["comment"], str):
        raise problem("device and comment must be texts")

    entries = content["pieces"]
    order = shuffled([piece.id for piece in key.pieces], key.survey, rater)
    ids = [entry.get("piece") if isinstance(entry, dict) else None for entry in entries] if _is_list(entries) else []
    pieces = {piece.id: piece for piece in key.pieces}
    missing = [pieces[identifier].name for identifier in order if identifier not in ids]
    if missing:
        raise problem(f"is incomplete: without the piece {missing[0]!r}")
    if ids != order:
        raise problem("its pieces are not in the order that this rater was shown")
    ranks: dict[str, dict[str, tuple[str, ...]]] = {}
    unheard = 0
    for entry in entries:
        piece = pieces[entry["piece"]]
        try:
            ranks[piece.id], few = _piece(entry, piece, key.survey, rater)
        except UserError as error:
            raise problem(f"piece {piece.name}: {error}") from None
        unheard += few
    return Result(path, rater, content["finished"], content["device"], content["comment"], ranks, unheard)


def latest(results: Sequence[Result]) -> tuple[list[Result], list[str]]:
    """One result a rater, the one that was finished last; and one line for each that is left out."""
    best: dict[str, Result] = {}
    lines = []
    for result in results:
        other = best.setdefault(result.rater, result)
        if other is result:
            continue
        newer, older = (result, other) if result.finished >= other.finished else (other, result)
        best[result.rater] = newer
        lines.append(f"{older.path}: left out: the same rater ({result.rater}) finished {newer.path} later")
    return list(best.values()), lines


def _piece(entry: dict[str, Any], piece: KeyPiece, survey: str, rater: str) -> tuple[dict[str, tuple[str, ...]], int]:
    if entry.get("order") != shuffled(piece.outputs, survey, rater, piece.id):
        raise UserError("the versions are not in the order that this rater was shown")
    rankings = entry.get("rankings")
    if not isinstance(rankings, dict) or set(rankings) != {question.id for question in QUESTIONS}:
        raise UserError(f"must have rankings for {', '.join(question.id for question in QUESTIONS)}")
    ranks = {}
    for question in QUESTIONS:
        ranked = rankings[question.id]
        if not _is_list(ranked) or not all(isinstance(item, str) for item in ranked):
            raise UserError(f"the ranking for {question.id} is not a list of versions")
        if len(ranked) < len(piece.outputs) and set(ranked) < set(piece.outputs):
            raise UserError(f"is incomplete: {len(ranked)} of {len(piece.outputs)} ranked for {question.id}")
        if sorted(ranked) != sorted(piece.outputs):
            raise UserError(f"the ranking for {question.id} is not one of its {len(piece.outputs)} versions, each once")
        ranks[question.id] = tuple(piece.outputs[item] for item in ranked)
    heard = entry.get("heard")
    if not isinstance(heard, dict) or not all(type(ms) is int and ms >= 0 for ms in heard.values()):
        raise UserError("'heard' must hold whole milliseconds")
    return ranks, sum(heard.get(item, 0) < HEARD for item in piece.outputs)


def _is_list(value: object) -> bool:
    return isinstance(value, list)
