"""Preparing a set from a collection of recordings: folders, or archives that are read as they stream by.

The recordings of a piece may come in any order and from several archives. What an archive gives is copied into a
hidden folder of the output until its piece is complete, then the piece is made and the copies go: the disk holds the
pieces that are under way, memory none. Whole pieces of an earlier run are kept, if options and recordings (by name and
size) are the same; `dataset.json` comes last.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from musicstar_ext._version import __version__
from musicstar_ext.errors import UserError

from .archives import DamagedArchiveError, Recording, Report, check_source, recordings_in
from .layout import Layout, read_json
from .prepare_piece import (
    FULL_CHANNELS,
    FULL_SAMPLE_RATE,
    SAMPLE_RATE,
    BadPieceError,
    PieceOptions,
    PreparedPiece,
    Source,
    prepare_piece,
)
from .prepared import DESCRIPTION, FULL_RATE, SPLITS
from .prepared_writer import UNFINISHED, make_output_folder, read_whole_piece, write_description
from .workers import working

INCOMING = f".incoming{UNFINISHED}"  # the hidden folder of recordings whose pieces are not complete
PIECES_AHEAD = 2  # for each job, pieces that may wait with their recordings on disk

Entry = dict[str, Any]
Deal = Callable[[list[str]], dict[str, str]]  # names of pieces -> {piece: split}


@dataclass(frozen=True)
class PrepareReport:
    """What a set came to."""

    pieces: int
    kept: int  # of them, whole from an earlier run
    hours: float
    cut_hours: float  # silence that was cut
    problems: list[str]  # a line about each piece that was left out, and whatever else was


def prepare_set(
    inputs: Sequence[Path],
    output: Path,
    layout: Layout,
    options: PieceOptions,
    deal: Deal,
    *,
    full_rate: bool = False,
    jobs: int = 1,
    strict: bool = False,
    report: Report = lambda line: None,
    made_by: Mapping[str, Any] | None = None,
) -> PrepareReport:
    """Prepare a set from the recordings in folders and archives.

    Args:
        deal: shares the pieces out between the splits, when all their names are known (`by_shares`, `by_file`).
        full_rate: also write the 44.1 kHz stereo copy; kept up in any case where there is one.
        strict: a piece that cannot be used is an error: the set is left unfinished.
        report: takes a line about each thing that is left out, when it turns up.
        made_by: more of what `dataset.json` says about where the set comes from.

    Raises:
        UserError: no inputs or no piece in them, a damaged archive (the pieces before the damage are kept), an output
            that cannot be written; with `strict`, any piece that cannot be used.
    """
    for source in inputs:
        check_source(source)
    make_output_folder(output)
    full_rate = full_rate or (output / FULL_RATE).exists()
    folders = [output, output / FULL_RATE] if full_rate else [output]
    for folder in folders:
        make_output_folder(folder)
    with working(jobs, folders) as workers:
        run = _Run(layout, options, output, folders, workers, PIECES_AHEAD * jobs, report)
        run.take_all(inputs)
    if run.damaged:
        raise UserError(
            f"{run.damaged[0]}; {len(run.entries)} pieces are whole and kept: run again with a good archive"
        )
    if strict and run.problems:
        raise UserError(f"{output}: not finished, as --strict asks: {run.problems[0]}")
    if not run.entries:
        why = f": {run.problems[0]}" if run.problems else f": no file is named like {layout.pattern}"
        raise UserError(f"{', '.join(map(str, inputs))}: no piece can be prepared{why}")
    splits = deal(sorted(run.entries))
    names = sorted(splits)
    about = {
        "command": "python -m musicstar_ext.data prepare",
        "version": __version__,
        "inputs": [source.resolve().name for source in inputs],
        "options": options.described(),
        **(made_by or {}),
    }
    domains = {domain: list(stems) for domain, stems in layout.domains.items()}
    for index, folder in reversed(list(enumerate(folders))):  # the set itself comes last
        pieces = {name: {"split": splits[name], **run.entries[name][index]} for name in names}
        rate, channels = (SAMPLE_RATE, 1) if folder == output else (FULL_SAMPLE_RATE, FULL_CHANNELS)
        write_description(folder, rate, domains, pieces, about, channels)
    entries = [run.entries[name][0] for name in names]
    hours = sum(entry["samples"] for entry in entries) / SAMPLE_RATE / 3600
    return PrepareReport(len(names), run.kept, hours, sum(e["cut_seconds"] for e in entries) / 3600, run.problems)


def by_shares(shares: Mapping[str, float], seed: int) -> Deal:
    """Pieces shuffled and dealt out by {split: share}; every split with a share has a piece, if there are enough."""

    def deal(names: list[str]) -> dict[str, str]:
        shuffled = sorted(names)
        random.Random(f"split {seed}").shuffle(shuffled)
        wanted = {split: shares[split] * len(names) for split in SPLITS if shares[split] > 0}
        counts = {split: int(number) for split, number in wanted.items()}
        while sum(counts.values()) < len(names):
            neediest = max(wanted, key=lambda split: wanted[split] - counts[split])
            counts[neediest] += 1
        for split in counts:
            largest = max(counts, key=lambda other: counts[other])
            if not counts[split] and counts[largest] > 1:
                counts[split], counts[largest] = 1, counts[largest] - 1
        dealt = [split for split, count in counts.items() for _ in range(count)]
        return dict(zip(shuffled, dealt, strict=True))

    return deal


def by_file(path: Path, report: Report) -> Deal:
    """Splits as a JSON file says: {piece: split}.

    Raises:
        UserError: the file is not that; when dealing, a piece that it does not name.
    """
    splits = read_json(path)
    if not isinstance(splits, dict) or not splits:
        raise UserError(f"{path}: not a JSON object that gives pieces their splits")
    for piece, split in splits.items():
        if split not in SPLITS:
            raise UserError(f"{path}: piece {piece!r}: split must be one of {', '.join(SPLITS)}, not {split!r}")

    def deal(names: list[str]) -> dict[str, str]:
        missing = [name for name in names if name not in splits]
        if missing:
            raise UserError(f"{path}: gives no split for {', '.join(map(repr, missing[:5]))} ({len(missing)} pieces)")
        absent = [name for name in splits if name not in names]
        if absent:
            report(
                f"{path}: names {', '.join(map(repr, absent[:5]))} ({len(absent)} pieces), which the set does not have"
            )
        return {name: splits[name] for name in names}

    return deal


@dataclass
class _Run:
    """The pieces of one run: which recordings have come, what is being made, what is done.

    Attributes:
        entries: {piece: its entries, in each folder}.
        kept: how many of them are from an earlier run.
        problems: what was left out.
        damaged: a line about each archive that is damaged.
    """

    layout: Layout
    options: PieceOptions
    output: Path
    folders: list[Path]
    workers: Executor
    ahead: int
    report: Report
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    kept: int = 0
    problems: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    _seen: dict[str, set[str]] = field(default_factory=dict)  # tracks of each piece that came
    _whole: dict[str, list[Entry] | None] = field(default_factory=dict)  # pieces of an earlier run
    _changed: set[str] = field(default_factory=set)  # pieces whose recordings are not those of the earlier run
    _incoming: dict[str, dict[str, Source]] = field(default_factory=dict)
    _making: dict[Future[PreparedPiece], str] = field(default_factory=dict)

    def take_all(self, inputs: Sequence[Path]) -> None:
        """Go through the inputs, and make or keep every piece that is complete in them."""
        self._incoming_folder.mkdir()
        try:
            self._pass(inputs, None)
            if self._changed and not self.damaged:
                # Their first recordings were taken for known, and have gone by.
                changed = set(self._changed)
                self._whole.update(dict.fromkeys(changed))
                for piece in changed:
                    del self._seen[piece]
                self._pass(inputs, changed)
        finally:
            shutil.rmtree(self._incoming_folder, ignore_errors=True)
        self._name_incomplete()

    @property
    def _incoming_folder(self) -> Path:
        return self.output / INCOMING

    def _pass(self, inputs: Sequence[Path], only: set[str] | None) -> None:
        total = sum(source.stat().st_size for source in inputs if source.is_file())
        with tqdm(desc="preparing", total=total or None, unit="B", unit_scale=True) as bar:

            def in_archive(count: int) -> None:
                bar.update(count)

            for source in inputs:
                report = self._left_out if only is None else _ignore
                try:
                    for recording in recordings_in(source, self.layout, report, in_archive):
                        if recording.path and self.output.resolve() in recording.path.resolve().parents:
                            continue  # the output lies in a folder of the input
                        if only is None or recording.piece in only:
                            self._take(recording, only is not None)
                            bar.set_postfix(pieces=len(self.entries), refresh=False)
                        if recording.path:
                            bar.total = (bar.total or 0) + recording.size
                            bar.update(recording.size)
                except DamagedArchiveError as error:
                    self.damaged.append(str(error))
                    self._left_out(str(error))
            self._collect(0)
            bar.set_postfix(pieces=len(self.entries))

    def _take(self, recording: Recording, again: bool) -> None:
        """A recording came: it belongs to a piece that is kept, completes one, or waits."""
        piece, track = recording.piece, recording.track
        seen = self._seen.setdefault(piece, set())
        if track in seen:
            if not again:
                self._left_out(f"piece {piece!r}: {recording.label}: the second recording of {track!r}: left out")
            return
        seen.add(track)
        whole = self._whole_piece(piece)
        if whole is not None:
            if whole[0]["sources"].get(track) != [recording.name, recording.size]:
                self._changed.add(piece)
            elif len(seen) == len(self.layout.tracks) and piece not in self._changed:
                self.entries[piece] = whole
                self.kept += 1
            return
        path = recording.path or self._copied(recording)
        waiting = self._incoming.setdefault(piece, {})
        waiting[track] = Source(path, recording.label, recording.name, recording.size)
        if len(waiting) == len(self.layout.tracks):
            self._make(piece, {track: waiting[track] for track in self.layout.tracks})

    def _copied(self, recording: Recording) -> Path:
        suffix = Path(recording.name).suffix  # libsndfile goes by it where a format has no header of its own
        path = self._incoming_folder / f"{recording.piece}-{recording.track}{suffix}"
        free = shutil.disk_usage(self.output).free
        if recording.size > free:
            raise UserError(
                f"{self.output}: the disk is full: {recording.label} has {recording.size} bytes, {free} are free"
            )
        try:
            recording.save(path)
        except OSError as error:
            raise UserError(f"{self.output}: cannot be written: {error.strerror or error}") from None
        return path

    def _make(self, piece: str, sources: dict[str, Source]) -> None:
        del self._incoming[piece]
        if any((folder / piece).exists() for folder in self.folders):
            for folder in self.folders:
                (folder / DESCRIPTION).unlink(missing_ok=True)  # it describes a piece that is about to change
        self._collect(self.ahead - 1)
        full_rate = len(self.folders) > 1
        future = self.workers.submit(_prepare, piece, sources, self.options, self.output, full_rate)
        self._making[future] = piece
        if future.done():  # where there is one job, it is done here
            self._collect(0)

    def _collect(self, most: int) -> None:
        """Wait until at most so many pieces are being made."""
        while len(self._making) > most:
            done, _ = wait(self._making, return_when=FIRST_COMPLETED)
            for future in done:
                piece = self._making.pop(future)
                try:
                    made = future.result()
                except BadPieceError as error:
                    self._left_out(f"piece {piece!r} is left out: {error}")
                    continue
                self.entries[piece] = [made.entry] if made.full_rate is None else [made.entry, made.full_rate]
                for remark in made.remarks:
                    self.report(f"piece {piece!r}: {remark}")

    def _whole_piece(self, piece: str) -> list[Entry] | None:
        """The entries of a piece that an earlier run made with these options, in each folder; or None."""
        if piece not in self._whole:
            found = [read_whole_piece(folder, piece, self.layout.tracks) for folder in self.folders]
            wanted = self.options.described()
            whole = [entry for entry in found if entry and entry.get("options") == wanted and _has_sources(entry)]
            self._whole[piece] = whole if len(whole) == len(self.folders) else None
        return self._whole[piece]

    def _name_incomplete(self) -> None:
        for piece, seen in sorted(self._seen.items()):
            missing = [track for track in self.layout.tracks if track not in seen]
            if missing and not self.damaged:
                self._left_out(f"piece {piece!r} is left out: there is no recording of {', '.join(missing)}")

    def _left_out(self, problem: str) -> None:
        line = " ".join(problem.split())
        self.problems.append(line)
        self.report(line)


def _prepare(
    piece: str, sources: Mapping[str, Source], options: PieceOptions, output: Path, full_rate: bool
) -> PreparedPiece:
    """`prepare_piece`, after which the copies of recordings from archives go."""
    try:
        return prepare_piece(piece, sources, options, output, full_rate)
    finally:
        for source in sources.values():
            if source.path.parent == output / INCOMING:
                source.path.unlink(missing_ok=True)


def _has_sources(entry: Entry) -> bool:
    return isinstance(entry.get("sources"), dict) and isinstance(entry.get("cut_seconds"), (int, float))


def _ignore(line: str) -> None:
    """Reported in the first pass."""
