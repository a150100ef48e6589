"""Written music of a few seconds, where rendering looks for scores that it has read before."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

from musicstar_ext.data.corpus import WrittenNote, WrittenScore, cache_version


def cache_short_scores(cache: Path, count: int) -> list[str]:
    """Write `count` scores of four parts and four seconds into a user's cache; their names."""
    folder = cache / "scores"
    folder.mkdir(parents=True)
    names = [f"short/{i}.mxl" for i in range(count)]
    for name in names:
        choose = random.Random(name)
        parts = [
            [WrittenNote(0.5 * i, 0.5, 76 - 6 * part + choose.randint(0, 8)) for i in range(10)] for part in range(4)
        ]
        score = WrittenScore(name, name, "Nobody", 80.0, 4.0, parts)
        stored = {"version": cache_version(), **asdict(score)}
        (folder / (name.replace("/", "-") + ".json")).write_text(json.dumps(stored))
    return names
