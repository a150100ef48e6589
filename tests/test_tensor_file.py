"""Small networks as files: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from musicstar_ext.errors import UserError
from musicstar_ext.tensor_file import read_tensors, write_tensors

SHAPES = {"weight": (2, 3), "bias": (2,)}


def tensors() -> dict[str, np.ndarray]:
    return {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2, np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    write_tensors(path, "toy", tensors(), {"made": "here", "losses": [1.5, None]})
    return path


def test_there_and_back(path: Path):
    read, description = read_tensors(path, "toy", SHAPES)
    assert all(np.array_equal(read[name], array) for name, array in tensors().items())
    assert description == {"made": "here", "losses": [1.5, None]}


def test_other_files_are_refused(path: Path, tmp_path: Path):
    with pytest.raises(UserError, match="not a style file"):
        read_tensors(path, "style", SHAPES)
    with pytest.raises(UserError, match="missing or unknown, 'bias'"):
        read_tensors(path, "toy", {"weight": (2, 3)})
    with pytest.raises(UserError, match=r"weight is float32 \(2, 3\), not float32 \(3, 2\)"):
        read_tensors(path, "toy", {**SHAPES, "weight": (3, 2)})
    with pytest.raises(UserError, match="cannot be read"):
        read_tensors(tmp_path / "nowhere", "toy", SHAPES)
    with pytest.raises(UserError, match="cannot be read"):
        read_tensors(tmp_path, "toy", SHAPES)


@pytest.mark.parametrize("keep", [0, 7, 60, -1])
def test_a_truncated_file_is_named(keep: int, path: Path):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"small\.safetensors: not a whole safetensors file"):
        read_tensors(path, "toy", SHAPES)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format_version": "2"}, "format version 2"),
        ({"format": "other"}, "not a toy file"),
        ({"description": "[]"}, "damaged"),
        ({"description": "{"}, "damaged"),
    ],
)
def test_odd_metadata_are_refused(change: dict[str, str], problem: str, tmp_path: Path):
    metadata = {"format": "musicstar_ext toy", "format_version": "1", "description": json.dumps({})} | change
    (tmp_path / "odd").write_bytes(safetensors.numpy.save(tensors(), metadata))
    with pytest.raises(UserError, match=problem):
        read_tensors(tmp_path / "odd", "toy", SHAPES)


def test_values_that_are_not_finite_or_not_float32_are_refused(path: Path):
    write_tensors(path, "toy", {**tensors(), "bias": np.array([1, np.inf])}, {})
    with pytest.raises(UserError, match="not finite"):
        read_tensors(path, "toy", SHAPES)
    metadata = {"format": "musicstar_ext toy", "format_version": "1", "description": "{}"}
    path.write_bytes(safetensors.numpy.save({**tensors(), "bias": np.ones(2)}, metadata))
    with pytest.raises(UserError, match="bias is float64"):
        read_tensors(path, "toy", SHAPES)


def test_an_unwritable_place_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be written"):
        write_tensors(tmp_path / "nowhere" / "small.safetensors", "toy", tensors(), {})
