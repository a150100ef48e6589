"""Written music from the corpus that comes with music21: notes as pitches and quarter lengths, part by part.

Two shelves: Bach's chorales and small pieces, and longer music for three to five voices (string quartets of Haydn,
Mozart, Beethoven and Schumann, a trio sonata, Monteverdi's madrigals). The music is in the public domain. Nothing is
downloaded.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from musicstar_ext.atomic import write_atomically
from musicstar_ext.cache import default_folder
from musicstar_ext.errors import MissingExtraError, UserError

from .prepared_writer import make_output_folder

SHELVES: tuple[tuple[str, ...], ...] = (
    ("bach/bwv",),
    ("beethoven/", "corelli/", "haydn/", "monteverdi/", "mozart/", "schumann_robert/opus41", "cpebach/"),
)
SUFFIXES = (".mxl", ".xml", ".krn")  # by preference, where a score is there in several formats
CACHE_VERSION = 1
CACHE = ".scores"  # in a set's folder, where the user's own cache cannot be written
DEFAULT_TEMPO = 88.0  # quarters a minute, where the score has no metronome mark
SLOWEST, FASTEST = 60.0, 132.0  # marks beyond these mostly count another note value


class WrittenNote(NamedTuple):
    """`start` and `length` in quarters, `pitch` as a MIDI number."""

    start: float
    length: float
    pitch: int


@dataclass(frozen=True)
class WrittenScore:
    """A score as it is written: parts from the top of the page to the bottom."""

    name: str
    title: str
    composer: str
    tempo: float  # quarters a minute
    bar: float  # quarters
    parts: list[list[WrittenNote]]

    @property
    def quarters(self) -> float:
        return max((note.start + note.length for part in self.parts for note in part), default=0.0)


def score_names() -> list[list[str]]:
    """Names of the scores on each shelf, sorted, such as "bach/bwv66.6.mxl".

    Raises:
        MissingExtraError: music21 is not installed.
    """
    try:
        from music21 import corpus
    except ImportError:
        raise MissingExtraError("music21", "train") from None
    best: dict[str, tuple[int, str]] = {}
    for path in corpus.getPaths():
        name = "/".join(Path(path).parts[Path(path).parts.index("corpus") + 1 :])
        suffix = PurePosixPath(name).suffix
        if suffix in SUFFIXES:
            stem = name.removesuffix(suffix)
            best[stem] = min(best.get(stem, (len(SUFFIXES), "")), (SUFFIXES.index(suffix), name))
    return [sorted(name for _, name in best.values() if name.startswith(shelf)) for shelf in SHELVES]


def cache_folder(output: Path) -> Path:
    """Where the notes of scores that were read are kept: the user's cache, for all sets; else the set's folder.

    Raises:
        UserError: neither can be written.
    """
    try:
        folder = default_folder() / "scores"
        make_output_folder(folder)
    except UserError:
        folder = output / CACHE
        make_output_folder(folder)
    return folder


def read_score(name: str, folder: Path) -> WrittenScore:
    """Read a score of the corpus, or its notes from the cache `folder`: parsing takes seconds, the cache none."""
    cached = folder / (name.replace("/", "-") + ".json")
    try:
        stored = json.loads(cached.read_bytes())
        if stored.pop("version") == cache_version():
            stored["parts"] = [[WrittenNote(*note) for note in part] for part in stored["parts"]]
            return WrittenScore(**stored)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or from another version: parse it again
    score = _parse(name)
    write_atomically(cached, json.dumps({"version": cache_version(), **asdict(score)}).encode())
    return score


@cache
def cache_version() -> list[Any]:
    """What an entry of the cache has to be from."""
    return [CACHE_VERSION, version("music21")]


def _parse(name: str) -> WrittenScore:
    from music21 import converter, corpus, stream

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # music21 comments on the notation of many of its scores
        score = converter.parseFile(corpus.getWork(name), forceSource=True, storePickle=False)
    if isinstance(score, stream.Opus):  # several works in one file
        score = score.scores[0]
    if not isinstance(score, stream.Score):
        score = stream.Score([score])
    parts = [notes for part in score.parts if (notes := _notes(part.flatten().notes))]
    signatures = list(score.recurse().getElementsByClass("TimeSignature"))
    marks = [mark.getQuarterBPM() for mark in score.recurse().getElementsByClass("MetronomeMark")]
    tempo = next((mark for mark in marks if mark and SLOWEST <= mark <= FASTEST), DEFAULT_TEMPO)
    title = score.metadata.title if score.metadata else None
    file_name = PurePosixPath(name)
    return WrittenScore(
        name=name,
        title=title if title and title != file_name.name else file_name.stem,  # music21 fills in the file's name
        composer=name.split("/")[0].split("_")[0].capitalize(),
        tempo=float(tempo),
        bar=float(signatures[0].barDuration.quarterLength) if signatures else 4.0,
        parts=parts,
    )


def _notes(elements: Iterable[Any]) -> list[WrittenNote]:
    """The sounding notes of one part: chords taken apart, ties joined, grace notes left out."""
    joined: list[WrittenNote] = []
    open_ties: dict[int, int] = {}  # pitch -> index in `joined` of the note that a tie prolongs
    for element in elements:
        length = float(element.duration.quarterLength)
        members = getattr(element, "notes", [element])
        for note in members:
            if length <= 0 or not hasattr(note, "pitch"):
                continue
            start, pitch = float(element.offset), int(note.pitch.midi)
            tie = note.tie.type if note.tie else None
            index = open_ties.get(pitch)
            if tie in ("stop", "continue") and index is not None:
                joined[index] = joined[index]._replace(length=start + length - joined[index].start)
            else:
                open_ties[pitch] = len(joined)
                joined.append(WrittenNote(start, length, pitch))
            if tie not in ("start", "continue"):
                open_ties.pop(pitch, None)
    return sorted(joined)
