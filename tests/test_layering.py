"""Imports point down only: csrc <- python <- _musicstar_core <- runtime <- nn <- methods <- training and the commands.

Two scans, over #include lines and over Python's syntax trees, so that a forbidden import fails here even where it
works.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "musicstar_ext"

FOREIGN_HEADERS = re.compile(r"^(torch|ATen|c10|caffe2|pybind11|nanobind|Python\.h|numpy)\b")

# What a part of the package may import from the package, besides the foundation; and whether it may import torch.
FOUNDATION = {"_version", "architecture", "atomic", "cache", "checkpoints", "errors", "extras", "models", "pages"}
FOUNDATION |= {"guidance", "shaping", "tensor_file"}
LAYERS: dict[str, set[str]] = {
    "_version": set(),
    "atomic": set(),
    "errors": set(),
    "architecture": set(),
    "checkpoints": {"published"},
    "published": set(),
    "guidance": set(),
    "shaping": set(),
    "models": set(),
    "cache": set(),
    "extras": set(),
    "tensor_file": set(),
    "pages": set(),
    "runtime": {"separation"},
    "data": {"runtime"},
    "ops": {"runtime"},
    "nn": {"runtime", "data", "ops"},
    "separation": set(),
    "methods": {"runtime", "data", "nn", "separation"},
    "training": {"runtime", "data", "nn", "methods"},
    "train": {"runtime", "data", "nn", "methods", "training"},
    "translate": {"runtime"},
    "features": {"runtime", "nn"},
    "evaluation": {"runtime", "data", "features", "separation"},
    "concepts": {"runtime", "data", "nn", "features", "evaluation"},
    "evaluate": {"evaluation", "concepts"},
    "__init__": {"runtime"},
}
USES_TORCH = {
    "published",
    "ops",
    "nn",
    "separation",
    "methods",
    "training",
    "train",
    "features",
    "evaluation",
    "concepts",
}


def sources(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes)


def included_headers(text: str) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE)


def test_the_core_knows_neither_python_nor_torch():
    files = sources(ROOT / "csrc", ".h", ".cuh", ".cpp", ".cu", ".inl")
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {header}"
        for path in files
        for header in included_headers(path.read_text())
        if FOREIGN_HEADERS.match(header)
    ]
    assert not found


def test_bindings_know_no_torch():
    for path in sources(ROOT / "python", ".h", ".cpp"):
        for header in included_headers(path.read_text()):
            assert not header.startswith(("torch/", "ATen/", "c10/")), f"{path.name}: {header}"


def test_kernels_see_no_standard_containers():
    """Inline std:: code compiled for AVX-512 could be the copy that the linker keeps for every machine."""
    allowed = {"cstdint", "cstring"}
    for path in sources(ROOT / "csrc" / "cpu", ".h", ".cpp"):
        if "kernels_" in path.name:
            headers = set(included_headers(path.read_text()))
            assert {header for header in headers if "/" not in header} <= allowed, path.name


def imported_modules(path: Path) -> set[str]:
    """Absolute dotted names of everything that a module imports, wherever in it the import stands."""
    package = path.relative_to(ROOT).parent.parts
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            # `from . import x` names modules of the package; `from .x import y` names things in one.
            modules |= {".".join([*base, alias.name]) for alias in node.names} if len(base) == 1 else {".".join(base)}
    return modules


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


@pytest.mark.parametrize("path", sources(PACKAGE, ".py"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_python_imports_point_down(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in LAYERS, f"{part} is new: say in LAYERS what it may import"
    allowed = LAYERS[part] | FOUNDATION | {part}
    for module in imported_modules(path):
        if module.split(".")[0] == "musicstar_ext":
            assert part_of(module) in allowed, f"{part} must not import {module}"
        if module.split(".")[0] == "torch":
            assert part in USES_TORCH, f"{part} must not import torch"
