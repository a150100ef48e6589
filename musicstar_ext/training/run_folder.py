"""A run's folder on disk: what it was started with, and its checkpoints.

| file | what it is |
|---|---|
| `config.json` | method, settings and data that the run was started with |
| `log.csv` | losses and speed, a row each reported step |
| `latest.state.pt` | what a training goes on from: weights, optimizer, average, step |
| `latest.safetensors`, `best.safetensors` | what `translate --model` reads: the (averaged) weights in our format |

Each file is replaced whole, and the state needs no other file: whenever the run is killed, the latest state is there.
Of several processes only the first one writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from musicstar_ext.atomic import replacing, write_atomically
from musicstar_ext.checkpoints import Checkpoint, save
from musicstar_ext.errors import UserError

from .processes import is_first

State = dict[str, Any]

LIMITS = ("steps", "max_minutes", "anneal_steps", "threads", "log_every", "save_every", "validate_every")
"""Settings that may change when a run is resumed: when it ends, and how often it reports."""


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log.csv"
        self._config = path / "config.json"

    def create(self, description: dict[str, Any]) -> None:
        """Start a run: the folder with its `config.json`.

        Raises:
            UserError: the folder already holds a run, or cannot be written.
        """
        if not is_first():
            return
        if self._config.exists():
            raise UserError(f"{self.path}: already holds a run; go on with --resume, or choose another --run folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be made a folder: {error.strerror or error}") from None
        self.write_description(description)

    def write_description(self, description: dict[str, Any]) -> None:
        if is_first():
            write_atomically(self._config, (json.dumps(description, indent=2) + "\n").encode())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While a training writes here: no other one may; what a killed one has left half-written is removed.

        Raises:
            UserError: another training is under way in the folder.
        """
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
            except BlockingIOError:
                raise UserError(f"{self.path}: another training is under way in this folder") from None
            except OSError:
                pass  # a file system without locks
            for leftover in self.path.glob(".musicstar-*.part"):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            os.close(folder)

    def description(self) -> dict[str, Any]:
        """What `create` was given.

        Raises:
            UserError: the folder holds no run, or its `config.json` is damaged.
        """
        try:
            description = json.loads(self._config.read_text())
            if not {"method", "config", "data"} <= description.keys():
                raise ValueError("fields are missing")
        except OSError:
            raise UserError(f"{self.path}: holds no run to resume (there is no config.json)") from None
        except (ValueError, AttributeError) as error:
            raise UserError(f"{self._config}: is damaged ({error})") from None
        return description

    def save(self, name: str, checkpoint: Checkpoint, state: State | None = None) -> None:
        """Write the checkpoint for the core under `name`, "latest" or "best", and before it the state.

        Raises:
            UserError: the disk is full, or the folder cannot be written; the old files are then untouched.
        """
        if state is not None:
            buffer = io.BytesIO()  # torch's own file writer ends the process on a full disk
            torch.save(state, buffer)
            path = self.path / f"{name}.state.pt"
            with replacing(path) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(buffer.getbuffer())
        save(checkpoint, self.path / f"{name}.safetensors")

    def latest_state(self) -> State | None:
        """The state to go on from; None for a run that was ended before its first checkpoint.

        Raises:
            UserError: the file is not a state.
        """
        path = self.path / "latest.state.pt"
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0] or "it is empty"
            raise UserError(f"{path}: cannot be read as a training state: {reason}") from None


def refuse_changes(saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare the description of a run with that of its resumption; only `LIMITS` may change.

    Raises:
        UserError: the first difference.
    """
    if saved["method"] != wanted["method"]:
        raise UserError(f"the run trains {saved['method']}, not {wanted['method']}")
    for key, value in wanted["data"].items():
        if saved["data"].get(key) != value:
            raise UserError(f"the run was started on other data: {key} was {saved['data'].get(key)}, not {value}")
    for key, value in wanted["config"].items():
        if key not in LIMITS and saved["config"].get(key) != value:
            raise UserError(
                f"the run was started with {key}={saved['config'].get(key)}, not {value}; "
                f"a resumed run may change only {', '.join(LIMITS)}"
            )
