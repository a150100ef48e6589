"""Rendering a set: plan the pieces, play every stem of each with its sound font, mix, and write, in several processes.

Levels: the two stems of a mixture are brought to the planned balance (instruments of a sound font differ in loudness by
more than a mixture should), and one gain a domain then makes its mixture peak at -3 dBFS.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from musicstar_ext._version import __version__
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.level import gated_level_dbfs

from .corpus import WrittenScore, read_score, score_names
from .plan import PROGRAMS, PiecePlan, SetOptions, first_visits, plan_pieces, planned_seconds
from .prepared import DESCRIPTION
from .prepared_writer import (
    finite_or_none,
    make_output_folder,
    read_whole_piece,
    remove_unfinished,
    write_description,
    write_piece,
)
from .synthesis import SoundFont, check_synthesizer, to_rate

SAMPLE_RATE = 16_000
PEAK = 10 ** (-3 / 20)
CACHE = ".scores"  # folder in the output: the notes of the scores that were read
DOMAINS = {domain: list(stems) for domain, stems in PROGRAMS.items()}
TRACKS = [track for domain, stems in DOMAINS.items() for track in (*stems, domain)]


@dataclass(frozen=True)
class RenderReport:
    """What a set came to."""

    pieces: int
    kept: int  # of them, whole from an earlier run
    hours: float


def render_set(
    output: Path, options: SetOptions, *, pieces: int | None = None, hours: float | None = None, jobs: int = 1
) -> RenderReport:
    """Render a set of a number of pieces, or of at least a number of hours; whole pieces of an earlier run are kept.

    `dataset.json` is written last, so a set can be opened when it is whole. Interrupted, it can be gone on with.

    Raises:
        UserError: something that it needs is missing, or the output cannot be written.
    """
    check_synthesizer()
    shelves = score_names()
    make_output_folder(output)
    make_output_folder(output / CACHE)
    with _workers(jobs, output) as workers:
        scores = _ReadAhead(workers, first_visits(shelves, options.seed), output / CACHE, 4 * jobs)
        plans = _enough(plan_pieces(shelves, scores.read, options), pieces, hours)
        entries: dict[str, dict[str, Any]] = {}
        for plan in plans:
            entry = read_whole_piece(output, plan.name, TRACKS)
            if entry and entry["fingerprint"] == plan.fingerprint():
                entries[plan.name] = entry
        kept = len(entries)
        missing = [plan for plan in plans if plan.name not in entries]
        if any((output / plan.name).exists() for plan in missing):
            (output / DESCRIPTION).unlink(missing_ok=True)  # it describes pieces that are about to change
        rendered = [workers.submit(render_piece, plan, output) for plan in missing]
        with tqdm(desc="rendering", total=len(plans), initial=kept, unit="piece") as bar:
            for future in as_completed(rendered):
                name, entry = future.result()
                entries[name] = entry
                bar.update()
    in_order = {plan.name: entries[plan.name] for plan in plans}
    fonts = sorted({plan.sound_font.name for plan in plans})
    made_by = {
        "command": "python -m musicstar_ext.data render",
        "version": __version__,
        "seed": options.seed,
        "shares": dict(options.shares),
        "sound_fonts": fonts,
    }
    write_description(output, SAMPLE_RATE, DOMAINS, in_order, made_by)
    total = sum(entry["samples"] for entry in in_order.values())
    return RenderReport(len(plans), kept, total / SAMPLE_RATE / 3600)


def render_piece(plan: PiecePlan, output: Path) -> tuple[str, dict[str, Any]]:
    """Play, mix and write one piece; its name and its entry of `dataset.json`."""
    tracks, levels, gains = mix_piece(plan, _sound_font(plan.sound_font))
    details = {
        "split": plan.split,
        "score": plan.source,
        "title": plan.title,
        "composer": plan.composer,
        "sound_font": plan.sound_font.name,
        "seed": plan.seed,
        "variant": plan.variant,
        "first_bar": plan.score.first_bar,
        "semitones": plan.score.semitones,
        "tempo": plan.score.tempo,
        "gains": gains,
        "levels": levels,
        "fingerprint": plan.fingerprint(),
    }
    return plan.name, write_piece(output, plan.name, tracks, SAMPLE_RATE, details)


def mix_piece(
    plan: PiecePlan, font: SoundFont
) -> tuple[dict[str, NDArray[np.int16]], dict[str, float | None], dict[str, float]]:
    """Play and mix one piece.

    Returns:
        {track: [samples] int16}, in which a mixture is exactly the sum of its stems; {domain: gated level of the
        mixture}; {stem: gain in dB that was put on what the synthesizer gave}.
    """
    tracks: dict[str, NDArray[np.int16]] = {}
    levels: dict[str, float | None] = {}
    gains: dict[str, float] = {}
    for domain, programs in PROGRAMS.items():
        stems = {
            stem: to_rate(font.play(voices, program, plan.score.seconds), SAMPLE_RATE)
            for (stem, program), voices in zip(programs.items(), plan.score.stems, strict=True)
        }
        stem_levels = {stem: gated_level_dbfs(audio) for stem, audio in stems.items()}
        for stem, level in stem_levels.items():
            if not math.isfinite(level):
                raise UserError(f"{font.path}: the sound font gives silence for {stem}")
        first, second = stems
        balance = 10 ** ((stem_levels[first] + plan.balance - stem_levels[second]) / 20)
        relative = {first: 1.0, second: balance}
        mixture = stems[first] + balance * stems[second]
        # The stems' peaks count too, though they can hardly exceed the mixture's: nothing may clip.
        peak = max(np.abs(mixture).max(), *(relative[stem] * np.abs(audio).max() for stem, audio in stems.items()))
        for stem, audio in stems.items():
            gain = float(relative[stem] * PEAK / peak)
            tracks[stem] = np.round(audio * gain * 32767).astype(np.int16)
            gains[stem] = round(20 * math.log10(gain), 3)
        tracks[domain] = tracks[first] + tracks[second]
        levels[domain] = finite_or_none(gated_level_dbfs(tracks[domain].astype(np.float32) / 32768))
    return {track: tracks[track] for track in TRACKS}, levels, gains


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

    def __init__(self, workers: ProcessPoolExecutor, order: Sequence[str], cache: Path, ahead: int) -> None:
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
    return SoundFont(path, [program for programs in PROGRAMS.values() for program in programs.values()])


@contextmanager
def _workers(jobs: int, output: Path) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, however it ends, and leave no half piece when it is interrupted."""
    context = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
    try:
        yield workers
        workers.shutdown()
    except BaseException as error:
        workers.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        for process in multiprocessing.active_children():
            process.join()
        remove_unfinished(output)
        if isinstance(error, BrokenProcessPool):
            raise UserError("a rendering process died; was memory short? Try fewer --jobs") from None
        raise


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def end_with_parent() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
