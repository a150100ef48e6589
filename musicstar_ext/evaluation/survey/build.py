"""Make a listening test's folder: `page/` to publish or send, and `key.json`, which stays with the researcher."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicstar_ext._version import __version__
from musicstar_ext.errors import UserError
from musicstar_ext.pages import assemble, script_json

from .audio import check_files, comparable, page_script
from .description import Description
from .protocol import KEY_FORMAT, QUESTIONS, RESULT_FORMAT

SCRIPTS = (
    "sha256.js",
    "protocol.js",
    "state.js",
    "player.js",
    "controls.js",
    "ranking.js",
    "welcome.js",
    "piece.js",
    "finish.js",
    "app.js",
)


@dataclass(frozen=True)
class BuildReport:
    """What was made: the page's folder, its size in bytes, and one line for each thing worth knowing."""

    page: Path
    key: Path
    survey: str
    bytes: int
    warnings: tuple[str, ...]


def build_survey(
    description: Description,
    output: Path,
    *,
    match_loudness: bool = True,
    seed: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> BuildReport:
    """Write OUT/page/ (index.html, audio/*.js) and OUT/key.json; OUT appears when all of it is there.

    Nothing in page/ tells the methods apart: every recording has a name drawn from `seed` (secret and fresh by default;
    kept in the key), another one for each piece.

    Raises:
        UserError: OUT is there already or cannot be written; or one of the recordings is bad.
    """
    if os.path.lexists(output):
        raise UserError(f"{output}: is there already")
    rate, warnings = check_files(description.pieces)
    salt = secrets.token_hex(16) if seed is None else str(seed)
    ids = _opaque_ids(description, salt)
    survey_id = ids("survey")
    key: dict[str, Any] = {
        "format": KEY_FORMAT,
        "survey": survey_id,
        "title": description.title,
        "version": __version__,
        "seed": salt,
        "rate": rate,
        "match_loudness": match_loudness,
        "methods": list(description.methods),
        "pieces": [],
    }
    public: list[dict[str, Any]] = []
    with _whole_folder(output) as folder:
        audio = folder / "page" / "audio"
        audio.mkdir(parents=True)
        for piece in description.pieces:
            recordings, found = comparable(piece, rate, match_loudness)
            warnings += found
            names = {name: ids(piece.name, name) for name in recordings}
            for name, recording in recordings.items():
                (audio / f"{names[name]}.js").write_text(page_script(names[name], recording.samples, rate))
            piece_id = ids(piece.name)
            methods = {names[f"output:{method}"]: method for method in description.methods}
            seconds = round(len(recordings["input"].samples) / rate, 3)
            public.append(
                {
                    "id": piece_id,
                    "input": names["input"],
                    "gold": names["gold"],
                    # Sorted by a random name: not the methods' order.
                    "outputs": sorted(methods),
                    "seconds": seconds,
                }
            )
            key["pieces"].append(
                {
                    "id": piece_id,
                    "name": piece.name,
                    "input": names["input"],
                    "gold": names["gold"],
                    "outputs": methods,
                    "seconds": seconds,
                    "gain_db": {names[name]: round(recording.gain_db, 2) for name, recording in recordings.items()},
                }
            )
            if progress:
                progress(piece.name)
        public.sort(key=lambda entry: str(entry["id"]))
        (folder / "page" / "index.html").write_text(_page(description, survey_id, public), encoding="utf-8")
        (folder / "key.json").write_text(json.dumps(key, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        published = [path for path in (folder / "page").rglob("*") if path.is_file()]
        now = int(time.time())
        for path in published:
            os.utime(path, (now, now))  # the order of writing is that of the methods
        size = sum(path.stat().st_size for path in published)
    return BuildReport(output / "page", output / "key.json", survey_id, size, tuple(warnings))


def _opaque_ids(description: Description, salt: str) -> Callable[..., str]:
    """A function of what a thing is to its public name: 12 hexadecimal digits of a hash with the secret salt."""
    files = [[piece.name, *map(str, piece.outputs)] for piece in description.pieces]
    base = json.dumps([salt, description.title, files])
    taken: dict[str, tuple[str, ...]] = {}

    def name(*what: str) -> str:
        identifier = hashlib.sha256(json.dumps([base, *what]).encode()).hexdigest()[:12]
        if taken.setdefault(identifier, what) != what:
            raise UserError("two recordings would get one name: take another --seed")
        return identifier

    return name


def _page(description: Description, survey_id: str, pieces: list[dict[str, Any]]) -> str:
    data = {
        "id": survey_id,
        "title": description.title,
        "inputLabel": description.input_label,
        "goldLabel": description.gold_label,
        "resultFormat": RESULT_FORMAT,
        "questions": [asdict(question) for question in QUESTIONS],
        "pieces": pieces,
    }
    return assemble(__package__, SCRIPTS, title=html.escape(description.title), survey=script_json(data))


@contextlib.contextmanager
def _whole_folder(output: Path) -> Iterator[Path]:
    """A new folder beside `output`, renamed to it when the block ends well, else removed."""
    try:
        folder = Path(tempfile.mkdtemp(dir=output.parent, prefix=".musicstar-", suffix=".part"))
    except OSError as error:
        raise UserError(f"{output}: cannot be made: {error.strerror or error}") from None
    try:
        yield folder
        folder.chmod(0o755)
        os.rename(folder, output)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"{output}: cannot be written: {error.strerror or error}") from None
        raise
