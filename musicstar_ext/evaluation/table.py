"""Methods x measures over a material, both directions and their mean: Table 1 of the paper, from any folder of outputs.

Beside every system stand the easier things that a figure has to be read against: the source copied unchanged (no
translation at all), the true recording through 8-bit mu-law (the best that a model with 256 classes can do), and the
true recording itself.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from musicstar_ext.cache import Cache
from musicstar_ext.data.workers import working
from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

from .bootstrap import Interval, mean_interval
from .material import Item, Material
from .pair import GOLD, MEASURES, MU_LAW, OUTPUT, SOURCE, measure_pair
from .recording import RATE, read_recording
from .systems import System, make_outputs

if TYPE_CHECKING:
    from .style import StyleModel

BASELINES = {
    SOURCE: "copy-input: the source, unchanged",
    MU_LAW: "mu-law bound: the true recording, 8-bit",
    GOLD: "the true recording",
}
BOTH = "both"


@dataclass
class Table:
    """What was measured.

    Attributes:
        description: of the material.
        directions: such as "strings-piano_to_clarinet-vibraphone".
        values: {system: {(direction, piece): {measure: value}}}; the baselines come after the systems.
        outputs: {system: {(direction, piece): file}} of the systems that are not baselines.
        warnings: one line each.
        missing: {group of measures: why they could not be taken}.
    """

    description: str
    directions: list[str]
    pieces: list[str]
    values: dict[str, dict[tuple[str, str], dict[str, float]]] = field(default_factory=dict)
    outputs: dict[str, dict[tuple[str, str], Path]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def measures(self) -> list[str]:
        """Those that were taken anywhere, in the order of `pair.MEASURES`."""
        taken = {name for rows in self.values.values() for values in rows.values() for name in values}
        return [name for name in MEASURES if name in taken]

    def interval(self, system: str, measure: str, direction: str = BOTH) -> Interval:
        """Mean over pieces, with a 95 % bootstrap interval; over both directions: the mean of the directions' means."""
        directions = self.directions if direction == BOTH else [direction]
        rows = self.values[system]
        values = [[rows.get((each, piece), {}).get(measure, np.nan) for each in directions] for piece in self.pieces]
        return mean_interval(np.array(values, np.float64))


@dataclass(frozen=True)
class _Task:
    """One comparison, as a worker process gets it."""

    system: str
    item: Item
    output: Path
    style_model: Path | None  # of the target
    cache: Path | None


def build_table(
    material: Material,
    systems: Sequence[System],
    *,
    style_models: Sequence[Path] = (),
    kept: Cache,
    jobs: int = 1,
    quiet: bool = False,
) -> Table:
    """Translate what is to be translated, then measure everything, in several processes.

    Args:
        style_models: networks of `evaluate train-style`, one for each domain that is translated to; a direction without
            one has no figure for style.
        kept: where pitches and MFCCs of recordings are kept.

    Raises:
        UserError: two systems of one name, an output that is missing, or one that cannot be compared.
    """
    names = [system.name for system in systems]
    for name in {*names} & {*BASELINES} or {name for name in names if names.count(name) > 1}:
        raise UserError(f"two systems are called {name!r}")
    table = Table(material.description, material.directions, material.pieces)
    outputs: dict[str, dict[Item, Path]] = {}
    total = sum(system.covers(item) for system in systems for item in material.items)
    with tqdm(total=total, desc="outputs", unit="file", disable=True if quiet else None) as bar:
        for system in systems:
            outputs[system.name] = make_outputs(system, material.items, bar.update)
    by_target = _by_target(style_models)

    tasks = [
        _Task(name, item, path, by_target.get(item.target), kept.folder)
        for name, made in outputs.items()
        for item, path in made.items()
    ]
    if not tasks:  # the baselines alone
        tasks = [_Task(SOURCE, item, item.heard, by_target.get(item.target), kept.folder) for item in material.items]
    for task in tasks:
        table.values.setdefault(task.system, {})
    table.values |= {name: {} for name in BASELINES if name not in table.values}
    results = _measured(tasks, jobs)
    for task, (values, warnings, missing) in tqdm(
        zip(tasks, results, strict=True), "measuring", len(tasks), unit="file", disable=True if quiet else None
    ):
        key = (task.item.direction, task.item.piece)
        table.values[task.system][key] = values[OUTPUT]
        for baseline in BASELINES:
            table.values[baseline][key] = values[baseline]
        table.warnings += [f"{task.system}, {task.item.place}: {line}" for line in warnings]
        table.missing |= missing
    for target in sorted({item.target for item in material.items} - by_target.keys()):
        table.missing[f"style of {target}"] = "give a network of `evaluate train-style --target` as --style-model"
    table.outputs = {
        name: {(item.direction, item.piece): path for item, path in made.items()} for name, made in outputs.items()
    }
    return table


Measured = tuple[Mapping[str, dict[str, float]], list[str], dict[str, str]]


def _measured(tasks: Sequence[_Task], jobs: int) -> Iterator[Measured]:
    """The results in the tasks' order, each as soon as it is there."""
    with working(min(jobs, len(tasks))) as workers:
        yield from workers.map(_measure, tasks)


def _measure(task: _Task) -> Measured:
    item = task.item
    output, gold, heard = (read_recording(path) for path in (task.output, item.gold, item.heard))
    try:
        report = measure_pair(
            output,
            gold,
            source=heard,
            style=_style(task.style_model) if task.style_model else None,
            notes=item.notes(len(gold) / RATE),
            cache=Cache(task.cache),
        )
    except UserError as error:
        raise UserError(f"{task.output}: {error}") from None
    return report.values, report.warnings, report.missing


def _by_target(paths: Sequence[Path]) -> dict[str, Path]:
    """{domain: the style network that was trained for it}.

    Raises:
        UserError: a file is no style network, or two are for one domain.
    """
    found: dict[str, Path] = {}
    for path in paths:
        target = _style(path).description["target"]
        if target in found:
            raise UserError(f"{path}: is for {target}, as is {found[target]}")
        found[target] = path
    return found


@cache
def _style(path: Path) -> StyleModel:
    """A style network, loaded once a process; torch is imported only where style is measured."""
    torch = extra_module("torch", "train")
    from .style import StyleModel

    if multiprocessing.parent_process():
        torch.set_num_threads(1)  # there are as many workers as processors were asked for
    return StyleModel.load(path)
