"""What the page (page/protocol.js) and Python must agree on, to the letter: formats, questions, orders, checksums."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KEY_FORMAT = "musicstar-survey-key/1"
RESULT_FORMAT = "musicstar-survey-result/1"
FEWEST_METHODS = 2
MOST_METHODS = 9  # a number key each
RATER = re.compile(r"[A-Za-z0-9._-]{1,40}")


@dataclass(frozen=True)
class Question:
    """One ranking that a rater makes for each piece."""

    id: str
    name: str
    text: str


# The three questions of Music-STAR's Table 1 (ISMIR 2022).
QUESTIONS = (
    Question(
        "content",
        "Content preservation",
        "Which version keeps the music of the input best: its melody, harmony, rhythm and timing? "
        "Compare with the input; sound and instruments do not count here.",
    ),
    Question(
        "style",
        "Style fit",
        "Which version sounds most like the instruments of the reference? "
        "Compare with the reference; wrong or missing notes do not count here.",
    ),
    Question(
        "quality",
        "Sound quality",
        "Which version sounds best as a recording: clear and natural, free of noise, crackle and distortion? "
        "Judge the sound alone.",
    ),
)


def shuffled(ids: Iterable[str], *context: str) -> list[str]:
    """The order in which a rater meets `ids`: by the SHA-256 of "context/.../id" in UTF-8.

    The context of the pieces is (survey, rater), that of a piece's versions (survey, rater, piece). Equal input, equal
    order; for all that a rater can know, a random one.
    """
    return sorted(ids, key=lambda item: hashlib.sha256("/".join((*context, item)).encode()).hexdigest())


def checksum(result: dict[str, Any]) -> str:
    """SHA-256 of a result without its own `checksum`, as JSON with sorted keys and no white space.

    It finds accidents and careless edits; anyone who reads the page can compute it.

    Raises:
        ValueError: text that is not valid Unicode, or a number that JSON does not have.
    """
    content = {name: value for name, value in result.items() if name != "checksum"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
