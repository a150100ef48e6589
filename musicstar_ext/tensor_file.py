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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ._version import __version__
from .checkpoints import write_atomically
from .errors import UserError

FORMAT_VERSION = "1"
LARGEST = 1 << 30  # bytes

Tensors = dict[str, NDArray[np.float32]]


def write_tensors(path: Path, kind: str, tensors: Mapping[str, NDArray], description: Mapping[str, Any]) -> None:
    """Write float32 tensors and what is known about them, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    metadata = {
        "format": f"musicstar_ext {kind}",
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "description": json.dumps(description),
    }
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    write_atomically(path, safetensors.numpy.save(arrays, metadata))


def read_tensors(
    path: str | os.PathLike[str], kind: str, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Tensors, dict[str, Any]]:
    """Tensors of exactly these names and shapes, and the description.

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
            if names != set(shapes):
                odd = sorted(names ^ set(shapes))
                raise UserError(f"{path}: {len(odd)} tensors are missing or unknown, {odd[0]!r} first")
            tensors = {name: file.get_tensor(name) for name in shapes}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    for name, shape in shapes.items():
        array = tensors[name]
        if array.dtype != np.float32 or array.shape != shape:
            raise UserError(f"{path}: tensor {name} is {array.dtype} {array.shape}, not float32 {shape}")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: tensor {name} holds values that are not finite")
    try:
        description = json.loads(metadata["description"])
    except (KeyError, ValueError, RecursionError):
        description = None
    if not isinstance(description, dict):
        raise UserError(f"{path}: its header is damaged (no description)")
    return tensors, description


def _check_kind(path: Path, kind: str, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != f"musicstar_ext {kind}":
        raise UserError(f"{path}: not a {kind} file of musicstar_ext")
    if metadata.get("format_version") != FORMAT_VERSION:
        found = metadata.get("format_version")
        raise UserError(f"{path}: format version {found}, this version of the package reads {FORMAT_VERSION}")
