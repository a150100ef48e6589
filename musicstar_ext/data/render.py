"""Rendering a set: plan the pieces, play and mix each, and write it, in several processes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from musicstar_ext._version import __version__

from .corpus import WrittenScore, cache_folder, read_score, score_names
from .instruments import Domains
from .mixing import SAMPLE_RATE, mix_piece
from .plan import PiecePlan, SetOptions, first_visits, plan_pieces, planned_seconds
from .prepared import DESCRIPTION, FULL_RATE
from .prepared_writer import make_output_folder, read_whole_piece, write_description, write_piece
from .synthesis import SYNTHESIS_RATE, SoundFont, check_synthesizer
from .workers import working

Entry = dict[str, Any]  # of a piece in `dataset.json`


@dataclass(frozen=True)
class RenderReport:
    """What a set came to."""

    pieces: int
    kept: int  # of them, whole from an earlier run
    hours: float
    scores: int  # different ones
    most_often: int  # that one of them comes, each time another excerpt, or in another key and tempo


def render_set(
    output: Path,
    options: SetOptions,
    *,
    pieces: int | None = None,
    hours: float | None = None,
    jobs: int = 1,
    full_rate: bool = False,
) -> RenderReport:
    """Render a set of a number of pieces, or of at least a number of hours; whole pieces of an earlier run are kept.

    `dataset.json` is written last, so a set can be opened when it is whole. Interrupted, it can be gone on with.

    Args:
        full_rate: also write the set as 44.1 kHz stereo, into the folder `full-rate` of the output. Where that is
            there from an earlier run, it is kept up in any case.

    Raises:
        UserError: something that it needs is missing, or the output cannot be written.
    """
    check_synthesizer()
    shelves = score_names()
    make_output_folder(output)
    full_rate = full_rate or (output / FULL_RATE).exists()
    rates = {output: SAMPLE_RATE, output / FULL_RATE: SYNTHESIS_RATE} if full_rate else {output: SAMPLE_RATE}
    for folder in rates:
        make_output_folder(folder)
    read = cache_folder(output)
    tracks = tracks_of(options.domains)
    with working(jobs, list(rates)) as workers:
        scores = _ReadAhead(workers, first_visits(shelves, options.seed), read, 4 * jobs)
        plans = _enough(plan_pieces(shelves, scores.read, options), pieces, hours)
        entries: dict[str, list[Entry]] = {}  # of a whole piece, in each folder
        for plan in plans:
            found = [read_whole_piece(folder, plan.name, tracks) for folder in rates]
            whole = [entry for entry in found if entry and entry.get("fingerprint") == plan.fingerprint()]
            if len(whole) == len(rates):
                entries[plan.name] = whole
        kept = len(entries)
        missing = [plan for plan in plans if plan.name not in entries]
        if any((folder / plan.name).exists() for plan in missing for folder in rates):
            for folder in rates:
                (folder / DESCRIPTION).unlink(missing_ok=True)  # it describes pieces that are about to change
        with tqdm(desc="rendering", total=len(plans), initial=kept, unit="piece") as bar:
            for name, written in _render(workers, missing, output, full_rate, 2 * jobs):
                entries[name] = written
                bar.update()
    domains = {domain: [player.stem for player in players] for domain, players in options.domains.items()}
    made_by = _made_by(options, plans)
    for index, (folder, rate) in reversed(list(enumerate(rates.items()))):  # the set itself comes last
        in_order = {plan.name: entries[plan.name][index] for plan in plans}
        write_description(folder, rate, domains, in_order, made_by, channels=1 if folder == output else 2)
    total = sum(entries[plan.name][0]["samples"] for plan in plans)
    visits = Counter(plan.source for plan in plans)
    return RenderReport(len(plans), kept, total / SAMPLE_RATE / 3600, len(visits), max(visits.values(), default=0))


def render_piece(plan: PiecePlan, output: Path, full_rate: bool = False) -> tuple[str, list[Entry]]:
    """Play, mix and write one piece; its name, and its entries of the set's and the full-rate copy's `dataset.json`."""
    mix = mix_piece(plan, _sound_font, full_rate)
    details = {**plan.described(), "gains": mix.gains, "fingerprint": plan.fingerprint()}
    entries = [write_piece(output, plan.name, mix.tracks, SAMPLE_RATE, details, notes=mix.notes)]
    if full_rate:
        folder = output / FULL_RATE
        entries.append(write_piece(folder, plan.name, mix.full_rate, SYNTHESIS_RATE, details, notes=mix.notes))
    return plan.name, entries


def _render(
    workers: Executor, plans: Sequence[PiecePlan], output: Path, full_rate: bool, at_once: int
) -> Iterator[tuple[str, list[Entry]]]:
    """What `render_piece` gives for each, in the order in which they are done; an error comes as soon as it can."""
    left = iter(plans)
    running: set[Future[tuple[str, list[Entry]]]] = set()
    while True:
        coming = itertools.islice(left, at_once - len(running))
        running |= {workers.submit(render_piece, plan, output, full_rate) for plan in coming}
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def tracks_of(domains: Domains) -> list[str]:
    """Every track of a piece: each domain's stems, then its mixture."""
    return [track for domain, players in domains.items() for track in (*(player.stem for player in players), domain)]


def _made_by(options: SetOptions, plans: Sequence[PiecePlan]) -> dict[str, Any]:
    return {
        "command": "python -m musicstar_ext.data render",
        "version": __version__,
        "seed": options.seed,
        "shares": dict(options.shares),
        "sound_fonts": sorted({font.name for plan in plans for font in plan.sound_fonts()}),
        "domains": {
            domain: {player.stem: [player.program, player.lowest, player.highest] for player in players}
            for domain, players in options.domains.items()
        },
        "source": options.source,
    }


def _enough(plans: Iterator[PiecePlan], pieces: int | None, hours: float | None) -> list[PiecePlan]:
    """The first pieces of the endless list, with a progress bar: scores are read here, some for the first time."""
    if pieces is not None:
        return list(tqdm(itertools.islice(plans, pieces), "reading scores", pieces, unit="piece"))
    wanted, seconds, enough = 3600 * (hours or 0.0), 0.0, []
    with tqdm(desc="reading scores", total=round(wanted / 60), unit="min") as bar:
        for plan in plans:
            enough.append(plan)
            seconds += planned_seconds(plan)
            bar.update(min(round(seconds / 60), bar.total) - bar.n)
            if seconds >= wanted:
                break
    return enough


class _ReadAhead:
    """Scores read by the workers, some ahead of the one that is asked for."""

    def __init__(self, workers: Executor, order: Sequence[str], cache: Path, ahead: int) -> None:
        self._coming = iter(order)
        self._workers, self._cache = workers, cache
        self._scores: dict[str, Future[WrittenScore]] = {}
        self._waiting: set[str] = set()
        self._ahead = ahead

    def read(self, name: str) -> WrittenScore:
        self._waiting.discard(name)
        while len(self._waiting) < self._ahead or name not in self._scores:
            coming = next(self._coming, None)
            if coming is None:
                break
            self._scores[coming] = self._workers.submit(read_score, coming, self._cache)
            if coming != name:
                self._waiting.add(coming)
        return self._scores[name].result()


@cache
def _sound_font(path: Path) -> SoundFont:
    """A font is loaded once a process, when the first piece needs it."""
    return SoundFont(path)
