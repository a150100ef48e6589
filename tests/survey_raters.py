"""Recordings to compare, and raters made of numbers, that the listening test's tests share."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from musicstar_ext.evaluation.survey.protocol import QUESTIONS, RESULT_FORMAT, checksum, shuffled
from musicstar_ext.evaluation.survey.results import Key, KeyPiece

RATE = 8_000
SECONDS = 2.5
METHODS = ("walrus", "zebra", "okapi")
PIECES = ("fugue", "waltz")


def chord(seed: int, seconds: float = SECONDS, rate: int = RATE, amplitude: float = 0.2) -> np.ndarray:
    """[seconds * rate]: three tones and a little noise, another music for each seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in rng.uniform(200, 1500, 3)]
    return amplitude * (np.mean(tones, axis=0) + 0.02 * rng.standard_normal(len(t)))


def build_arguments(recordings: Path, output: Path, *more: str) -> list[str]:
    """The command line that makes a listening test of folders input, gold and one a method."""
    methods = [text for name in METHODS for text in ("--method", f"{name}={recordings / name}")]
    folders = ["--input", str(recordings / "input"), "--gold", str(recordings / "gold")]
    return ["survey", "build", str(output), *folders, *methods, *more]


def paper_key(pieces: int, methods: tuple[str, ...]) -> Key:
    """A key for tests that need no recordings."""
    return Key(
        "abcdef012345",
        "Table | one",
        methods,
        tuple(
            KeyPiece(f"p{piece}", f"piece {piece}", {f"v{piece}{m}": method for m, method in enumerate(methods)})
            for piece in range(pieces)
        ),
    )


def result_of(
    key: Key, rater: str, rankings: Callable[[str, str], list[str]] | None = None, finished: str = "10:30:00"
) -> dict[str, Any]:
    """What the page would save for a rater; rankings(piece name, question id) lists methods, best first."""
    rng = random.Random(rater)

    def ranked(piece: KeyPiece, question: str) -> list[str]:
        methods = rankings(piece.name, question) if rankings else rng.sample(key.methods, len(key.methods))
        identifiers = {method: identifier for identifier, method in piece.outputs.items()}
        return [identifiers[method] for method in methods]

    pieces = {piece.id: piece for piece in key.pieces}
    result: dict[str, Any] = {
        "format": RESULT_FORMAT,
        "survey": key.survey,
        "rater": rater,
        "started": "2026-01-02T10:00:00.000Z",
        "finished": f"2026-01-02T{finished}.000Z",
        "device": "headphones",
        "comment": "",
        "pieces": [
            {
                "piece": piece,
                "order": shuffled(pieces[piece].outputs, key.survey, rater, piece),
                "heard": dict.fromkeys(pieces[piece].outputs, 5000),
                "rankings": {question.id: ranked(pieces[piece], question.id) for question in QUESTIONS},
            }
            for piece in shuffled(pieces, key.survey, rater)
        ],
    }
    return sealed(result)


def sealed(result: dict[str, Any]) -> dict[str, Any]:
    """With the checksum of what it now holds."""
    return {**result, "checksum": checksum(result)}
