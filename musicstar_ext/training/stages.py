"""What one command trains: a method, and before it the methods whose checkpoints it builds on.

Where a field of a config that names such a checkpoint (`Method.requires`) is empty, that method is a stage: a complete
run of its own, in the folder of the field's name inside of the run's. The settings of a stage are given with its name
before them:

    single-instrument            RUN/              batch=16
    `- universal-network         RUN/universal/    universal.batch=32

    embedding-supervised         RUN/
    `- single-instrument         RUN/single/              single.batch=16
       `- universal-network      RUN/single/universal/    single.universal.batch=32

What says how to compute, not what, is inherited by the stages (`INHERITED`), and so is the direction.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicstar_ext.checkpoints import Checkpoint, save
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError
from musicstar_ext.methods import METHODS, Method, Recipe
from musicstar_ext.methods.direction import DirectionRecipe
from musicstar_ext.nn import to_checkpoint_weights

from .options import to_flat, with_settings
from .run_folder import RunFolder, refuse_changes
from .warm_start import spelled

INHERITED = ("device", "precision", "seed", "threads")
DESCRIPTION = "config.json"  # of every run's folder
CHECKPOINT = "best.safetensors"  # of a stage: what the next one builds on


@dataclass
class Stage:
    """One method to train, in a folder of its own.

    Attributes:
        name: "" for the method that was asked for, else the fields that lead to it: "single.universal".
        folder: of the run.
        config: with the paths of the checkpoints that it builds on, also of those that are yet to be trained.
        description: what `config.json` says of it; paths are relative to the run's folder, so the folder may move.
        stages: {field: the stage that makes its checkpoint}.
        finished: whether it was trained to its end in an earlier start of the command.
    """

    name: str
    method: type[Method]
    folder: RunFolder
    config: Recipe
    description: dict[str, Any]
    stages: dict[str, Stage] = field(default_factory=dict)
    finished: bool = False

    def in_order(self) -> list[Stage]:
        """All stages, each after those that it builds on; this one is the last."""
        return [earlier for stage in self.stages.values() for earlier in stage.in_order()] + [self]

    def begin(self) -> None:
        """Write `config.json`.

        Raises:
            UserError: the folder cannot be written.
        """
        if (self.folder.path / DESCRIPTION).exists():
            self.folder.write_description(self.description)
        else:
            self.folder.create(self.description)

    def finish(self) -> None:
        """Note that a stage is trained to its end; the method that was asked for can always be trained further."""
        if self.name:
            self.folder.write_description({**self.description, "finished": True})


def plan(
    method: str, run: Path, prepared: PreparedSet, data: dict[str, Any], settings: Sequence[str], resume: bool
) -> Stage:
    """The method with all its stages.

    Args:
        data: what `config.json` says of the set.
        settings: `KEY=VALUE` texts.
        resume: whether to go on with the run in the folder: with its settings, and `settings` over them.

    Raises:
        UserError: a setting is unknown or out of range; there is no such run, or it was started otherwise.
    """
    saved = RunFolder(run).description() if resume else None
    if saved and saved["method"] != method:
        raise UserError(f"the run trains {saved['method']}, not {method}")
    planner = _Planner(run, prepared, data, saved)
    stage = planner.stage("", METHODS[method], list(settings), [])
    stage.description["stages"] = {
        earlier.name: earlier.description["config"] for earlier in stage.in_order() if earlier is not stage
    }
    return stage


class _Planner:
    """Makes stages from what all of them share; `saved` is the `config.json` of the run to resume."""

    def __init__(self, run: Path, prepared: PreparedSet, data: dict[str, Any], saved: dict[str, Any] | None) -> None:
        self.run, self.prepared, self.data, self.saved = run, prepared, data, saved

    def stage(self, name: str, method: type[Method], settings: list[str], inherited: list[str]) -> Stage:
        """One stage with those before it; `inherited` settings give way to its own."""
        own, of_stages = _split(settings, method)
        folder = RunFolder(self.run.joinpath(*name.split(".")))
        saved = self._saved(name, method)
        base = _with_paths(saved["config"], method, lambda path: os.path.join(self.run, path)) if saved else {}
        finished = bool(name and saved) and _is_finished(folder)
        try:
            config = with_settings(method.config_type, base, own if finished else [*inherited, *own], _hint(method))
            stages = self._stages(name, method, config, of_stages, inherited, own)
            paths: dict[str, Any] = {key: str(stage.folder.path / CHECKPOINT) for key, stage in stages.items()}
            config = dataclasses.replace(config, **paths)
            portable = _with_paths(to_flat(config), method, lambda path: os.path.relpath(path, self.run))
            description = {"method": method.name, "data": self.data, "config": portable}
            if saved:
                refuse_changes(saved, description)
                if finished and saved["config"] != portable:
                    raise UserError("it is finished, its settings can no longer change")
        except UserError as error:
            raise UserError(f"{name}: {error}") if name and not str(error).startswith(f"{name}.") else error from None
        return Stage(name, method, folder, config, description, stages, finished)

    def _stages(
        self,
        name: str,
        method: type[Method],
        config: Recipe,
        settings: Mapping[str, list[str]],
        inherited: list[str],
        own: list[str],
    ) -> dict[str, Stage]:
        """The stages for those fields that name no checkpoint; or did not when the run was started."""
        stages = {}
        passed_on = [text for text in (*inherited, *own) if text.partition("=")[0] in INHERITED]
        for key, required in method.requires.items():
            inner = f"{name}.{key}".lstrip(".")
            if getattr(config, key) and not self._was_stage(inner):
                if settings[key]:
                    raise UserError(f"--set: {key} names a checkpoint, so {key}.{settings[key][0]} has no use")
                continue
            kind = METHODS[required]
            stages[key] = self.stage(
                inner, kind, settings[key], [*passed_on, *_direction(config, kind, self.prepared.domains)]
            )
        return stages

    def _was_stage(self, name: str) -> bool:
        return self.saved is not None and name in self._saved_stages()

    def _saved_stages(self) -> dict[str, Any]:
        stages = (self.saved or {}).get("stages", {})
        if not isinstance(stages, dict) or not all(isinstance(config, dict) for config in stages.values()):
            raise UserError(f"{self.run / DESCRIPTION}: is damaged (its stages are no settings)")
        return stages

    def _saved(self, name: str, method: type[Method]) -> dict[str, Any] | None:
        """What the resumed run's `config.json` says of a stage, as the stage's own would."""
        if self.saved is None or not name:
            return self.saved
        if name not in self._saved_stages():
            raise UserError(f"{self.run / DESCRIPTION}: is damaged (it has no settings of {name})")
        return {"method": method.name, "data": self.saved["data"], "config": self._saved_stages()[name]}


def _split(settings: Sequence[str], method: type[Method]) -> tuple[list[str], dict[str, list[str]]]:
    """A method's own settings, and {field: those of the stage}, without the field's name."""
    own: list[str] = []
    of_stages: dict[str, list[str]] = {key: [] for key in method.requires}
    for setting in settings:
        first, dot, rest = setting.partition(".")
        if dot and first in of_stages:
            of_stages[first].append(rest)
        else:
            own.append(setting)
    return own, of_stages


def _hint(method: type[Method], name: str = "") -> str:
    """How the settings of stages are given, after a list of a method's own."""
    hint = ""
    for key, required in method.requires.items():
        inner = f"{name}{key}."
        hint += f"; {inner}KEY with a key of {required}{_hint(METHODS[required], inner)}"
    return hint


def _direction(config: Recipe, method: type[Method], domains: Mapping[str, list[str]]) -> list[str]:
    """The direction of a method as settings of a stage, where that has a direction."""
    source, target = getattr(config, "source", ""), getattr(config, "target", "")
    direction = DirectionRecipe(source=source, target=target).direction(domains)
    known = {entry.name for entry in dataclasses.fields(method.config_type)}
    return [f"{key}={value}" for key, value in zip(("source", "target"), direction, strict=True) if key in known]


def _with_paths(flat: Mapping[str, Any], method: type[Method], spell: Callable[[str], str]) -> dict[str, Any]:
    """Flat settings with another spelling of those that name files."""
    paths = ("init_from", *method.requires)
    return {key: spelled(value, spell) if value and key in paths else value for key, value in flat.items()}


def _is_finished(folder: RunFolder) -> bool:
    return (folder.path / DESCRIPTION).exists() and folder.description().get("finished") is True


def refuse_existing(stages: Sequence[Stage]) -> None:
    """Raises UserError where there is a run already in a folder of a stage, the one that was asked for first."""
    for stage in reversed(stages):
        path = stage.folder.path
        if (path / DESCRIPTION).exists():
            use = f", or give {stage.name}={path / CHECKPOINT}" if stage.name else ""
            raise UserError(f"{path}: already holds a run; go on with --resume, or choose another --run folder{use}")


def until(stage: Stage, end: float) -> Recipe:
    """The stage's config, limited to what is left of the command's time until `end`, of the monotonic clock."""
    left = (end - time.monotonic()) / 60
    own = stage.config.max_minutes if stage.name else 0.0
    limit = min(own or math.inf, max(left, 1e-3))
    return dataclasses.replace(stage.config, max_minutes=round(limit, 3) if limit < math.inf else 0.0)


def rehearse(stages: Sequence[Stage], prepared: PreparedSet) -> None:
    """Build every model on untrained checkpoints, so that what does not fit is found before hours of training.

    Raises:
        UserError: a stage cannot build on those before it.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, str] = {}  # {name of a stage: its checkpoint, trained or not}
        for number, stage in enumerate(stages):
            if stage.finished:
                paths[stage.name] = str(stage.folder.path / CHECKPOINT)
                continue
            inputs: dict[str, Any] = {key: paths[earlier.name] for key, earlier in stage.stages.items()}
            data = prepared.full_rate() or prepared if stage.method.full_rate else prepared
            try:
                config = stage.method.config_for(dataclasses.replace(stage.config, **inputs), data)
                model = stage.method(config, data.domains)
            except UserError as error:
                message = str(error)
                for name, path in paths.items():
                    message = message.replace(path, f"the checkpoint of {name}")
                raise UserError(f"{stage.name}: {message}" if stage.name else message) from None
            if stage is not stages[-1]:
                paths[stage.name] = os.path.join(folder, f"{number}.safetensors")
                save(untrained(model, data.sample_rate), paths[stage.name])


def untrained(model: Method, sample_rate: int) -> Checkpoint:
    """A checkpoint of a model as it is, without levels; `sample_rate` in hertz."""
    if not model.trained:
        return model.assembled()
    networks = model.networks()
    return Checkpoint(
        method=model.name,
        networks={name: network.config for name, network in networks.items()},
        weights={name: to_checkpoint_weights(network) for name, network in networks.items()},
        domains=model.domains,
        branches=model.branches(),
        levels={},
        sample_rate=sample_rate,
    )
