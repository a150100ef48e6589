"""Small networks of the evaluation as files: safetensors whose metadata say what they are, checked when read.

| metadata | value |
|---|---|
| `format` | `musicstar_ext KIND`, e.g. `musicstar_ext style` |
| `format_version` | `1` |
| `package_version` | what wrote it |
| `description` | JSON: whatever the kind says about itself |
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ._version import __version__
from .atomic import write_atomically
from .errors import UserError

FORMAT_VERSION = "1"
LARGEST = 1 << 30  # bytes

Tensors = dict[str, NDArray]
Shapes = Mapping[str, tuple[int, ...]]
Types = Mapping[str, type[np.generic]]


def write_tensors(
    path: Path, kind: str, tensors: Mapping[str, NDArray], description: Mapping[str, Any], types: Types | None = None
) -> None:
    """Write tensors and what is known about them, whole or not at all.

    Args:
        types: {name: type} of the tensors that are not float32.

    Raises:
        UserError: the file cannot be written.
    """
    metadata = {
        "format": f"musicstar_ext {kind}",
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "description": json.dumps(description),
    }
    kinds = types or {}
    arrays = {name: np.ascontiguousarray(array, kinds.get(name, np.float32)) for name, array in tensors.items()}
    write_atomically(path, safetensors.numpy.save(arrays, metadata))


def read_tensors(
    path: str | os.PathLike[str],
    kind: str,
    shapes: Shapes | Callable[[dict[str, Any]], Shapes],
    types: Types | None = None,
) -> tuple[Tensors, dict[str, Any]]:
    """Tensors of exactly these names and shapes, and the description.

    Args:
        shapes: {name: shape}, or what tells them from the description, where each file has its own; that may raise
            ValueError where the description is not what the kind has.
        types: {name: type} of the tensors that are not float32.

    Raises:
        UserError: the file is missing, damaged, of another kind or version, or its tensors are not those.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(f"{path}: {size} bytes are more than a file of this kind has")
        path.open("rb").close()
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            names = set(file.keys())
            _check_kind(path, kind, metadata)
            description = _description(path, metadata)
            try:
                wanted = shapes(description) if callable(shapes) else shapes
            except ValueError as error:
                raise UserError(f"{path}: its header is damaged ({error})") from None
            if names != set(wanted):
                odd = sorted(names ^ set(wanted))
                raise UserError(f"{path}: {len(odd)} tensors are missing or unknown, {odd[0]!r} first")
            tensors = {name: file.get_tensor(name) for name in wanted}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    for name, shape in wanted.items():
        array, dtype = tensors[name], np.dtype((types or {}).get(name, np.float32))
        if array.dtype != dtype or array.shape != shape:
            raise UserError(f"{path}: tensor {name} is {array.dtype} {array.shape}, not {dtype} {shape}")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: tensor {name} holds values that are not finite")
    return tensors, description


def _description(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        description = json.loads(metadata["description"])
    except (KeyError, ValueError, RecursionError):
        description = None
    if not isinstance(description, dict):
        raise UserError(f"{path}: its header is damaged (no description)")
    return description


def _check_kind(path: Path, kind: str, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != f"musicstar_ext {kind}":
        raise UserError(f"{path}: not a {kind} file of musicstar_ext")
    if metadata.get("format_version") != FORMAT_VERSION:
        found = metadata.get("format_version")
        raise UserError(f"{path}: format version {found}, this version of the package reads {FORMAT_VERSION}")
