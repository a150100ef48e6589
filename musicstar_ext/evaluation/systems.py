"""The systems of a comparison: folders of outputs that somebody made, or checkpoints that translate here and now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from musicstar_ext import models
from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import UserError
from musicstar_ext.guidance import Guidance
from musicstar_ext.runtime import Translator, load
from musicstar_ext.runtime.audio_writing import make_folder, write_audio
from musicstar_ext.runtime.networks import SEPARATOR
from musicstar_ext.shaping import Shaping

from .material import Item, Material
from .recording import RATE, read_recording

MANIFEST = "made_from.json"


class System(Protocol):
    """Something that translates some or all items."""

    @property
    def name(self) -> str: ...

    def covers(self, item: Item) -> bool:
        """Whether it translates in this direction."""
        ...

    def output_of(self, item: Item) -> Path:
        """The file of its translation; made first, where it is not there yet.

        Raises:
            UserError: it cannot be made, or is missing.
        """
        ...


@dataclass(frozen=True)
class OutputFolder:
    """Outputs that are there: each lies in the folder where its true recording lies in the material."""

    name: str
    folder: Path
    directions: frozenset[str]

    def covers(self, item: Item) -> bool:
        return item.direction in self.directions

    def output_of(self, item: Item) -> Path:
        path = self.folder / item.place
        if not path.is_file():
            raise UserError(f"{path}: missing; it should be {self.name}'s translation of {item.heard.name}")
        return path


@dataclass(frozen=True)
class TranslationSettings:
    """How checkpoints translate. Lanes are a number, since automatic ones would depend on the machine."""

    seed: int = 0
    temperature: float = 1.0
    lanes: int = 8
    precision: str = "auto"
    device: str = "auto"
    threads: int = 0
    guidance: Guidance = "auto"
    shaping: Shaping = "auto"


class Checkpoints:
    """One checkpoint a direction. Outputs are kept in a folder, each with a fingerprint of what it was made from."""

    def __init__(self, name: str, paths: Sequence[str], folder: Path, settings: TranslationSettings) -> None:
        self.name = name
        self._folder, self._settings = folder, settings
        self._translators: dict[str, Translator] = {}
        self._hashes: dict[str, str] = {}
        for path in paths:
            found = models.find(path)
            translator = load(found, settings.device, settings.precision, settings.threads)
            try:
                translator.chosen_guidance(settings.guidance)
                translator.chosen_shaping(settings.shaping)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
            domains = translator.checkpoint.domains
            direction = f"{domains['source']}_to_{domains['target']}"
            if direction in self._translators:
                raise UserError(f"{path}: {name} has a checkpoint for {direction} already")
            self._translators[direction] = translator
            self._hashes[direction] = _hash([found])

    def covers(self, item: Item) -> bool:
        return item.direction in self._translators

    def output_of(self, item: Item) -> Path:
        translator = self._translators[item.direction]
        heard = self._heard(item, translator)
        engine, settings = translator.engine, self._settings
        described = [self._hashes[item.direction], _hash(list(heard.values())), engine.precision, engine.isa]
        described += [str(settings.seed), str(settings.temperature), str(settings.lanes)]
        guidance = translator.chosen_guidance(settings.guidance)
        if guidance != 1:
            described.append(f"guidance {guidance}")
        shaping = translator.chosen_shaping(settings.shaping)
        if shaping:
            described.append(f"shaping {shaping}")
        fingerprint = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        path = self._folder / item.place
        if self._made_from.get(str(item.place)) != fingerprint or not path.is_file():
            self._translate(heard, translator, path)
            self._made_from[str(item.place)] = fingerprint
            write_atomically(self._folder / MANIFEST, json.dumps(self._made_from, indent=1).encode())
        return path

    @cached_property
    def _made_from(self) -> dict[str, str]:
        try:
            described = json.loads((self._folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return {}  # nothing is kept that cannot be told where it is from
        return {str(k): str(v) for k, v in described.items()} if isinstance(described, dict) else {}

    def _heard(self, item: Item, translator: Translator) -> dict[str, Path]:
        """What the model hears: the mixture, or the true stems where it takes stems (Table 1, first row)."""
        if not translator.stems or SEPARATOR in translator.checkpoint.networks:
            return {item.source: item.heard}
        missing = [stem for stem in translator.stems if stem not in item.stems]
        if missing:
            raise UserError(f"{self.name} hears stems, and {item.heard.name} has no {', '.join(missing)}")
        return {stem: item.stems[stem] for stem in translator.stems}

    def _translate(self, heard: dict[str, Path], translator: Translator, path: Path) -> None:
        audio = {track: read_recording(file) for track, file in heard.items()}
        settings = self._settings
        mixture = audio.get(translator.checkpoint.domains["source"])
        if mixture is not None:
            output = translator.translate(
                mixture,
                RATE,
                seed=settings.seed,
                temperature=settings.temperature,
                lanes=settings.lanes,
                guidance=settings.guidance,
                shaping=settings.shaping,
            )
        else:
            output = translator.translate_stems(
                audio,
                RATE,
                seed=settings.seed,
                temperature=settings.temperature,
                lanes=settings.lanes,
                guidance=settings.guidance,
                shaping=settings.shaping,
            )
        make_folder(path.parent)
        write_audio(path, [output], RATE)


def open_system(text: str, material: Material, outputs: Path, settings: TranslationSettings) -> System:
    """A system from `NAME=FOLDER` or `NAME=CHECKPOINT[,CHECKPOINT]`; a checkpoint is a path or a shipped model's name.

    Args:
        outputs: folder in which a folder of that name keeps the outputs of checkpoints.

    Raises:
        UserError: no name, an unknown checkpoint, or a folder without any output for the material.
    """
    name, separator, where = text.partition("=")
    if not separator or not name.strip() or not where or "/" in name:
        raise UserError(f"--system takes NAME=FOLDER or NAME=CHECKPOINT[,CHECKPOINT], not {text!r}")
    folder = Path(where)
    if not folder.is_dir():
        return Checkpoints(name, where.split(","), outputs / name, settings)
    directions = {item.direction for item in material.items if (folder / item.place).is_file()}
    if not directions:
        raise UserError(f"{folder}: holds no output for the material; expected names such as {material.items[0].place}")
    return OutputFolder(name, folder, frozenset(directions))


def make_outputs(system: System, items: Sequence[Item], advance: Callable[[], None]) -> dict[Item, Path]:
    """{item: file of the translation} for the items that a system covers; `advance` is called after each.

    Raises:
        UserError: an output is missing or cannot be made.
    """
    made = {}
    for item in items:
        if system.covers(item):
            made[item] = system.output_of(item)
            advance()
    return made


def _hash(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()
