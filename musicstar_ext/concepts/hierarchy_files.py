"""What hierarchies are compared with, and how they are written: CSV files of pairs, embeddings as CSV or npz."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import UserError

from .similarity import Matrix
from .trees import ROOT, Tree, check_no_circle

# First cells that make a line a heading. A concept of that name can stand on any other line.
HEADINGS = {"child", "concept", "name"}


def read_tree(path: Path) -> dict[str, str]:
    """A known tree: a line `child,parent` each. A child whose parent is empty is at the top.

    Raises:
        UserError: not such a file, a child with two parents, or names in a circle.
    """
    parents: dict[str, str] = {}
    for line, (child, parent) in _pairs(path, "child,parent"):
        if parents.get(child, parent) != parent:
            raise UserError(f"{path}: line {line}: {child!r} has two parents, {parents[child]!r} and {parent!r}")
        if parent:
            parents[child] = parent
    try:
        check_no_circle(parents)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return parents


def read_clusters(path: Path) -> dict[str, str]:
    """Known clusters: a line `concept,cluster` each.

    Raises:
        UserError: not such a file, or a concept in two clusters.
    """
    clusters: dict[str, str] = {}
    for line, (concept, cluster) in _pairs(path, "concept,cluster"):
        if clusters.get(concept, cluster) != cluster:
            raise UserError(
                f"{path}: line {line}: {concept!r} is in two clusters, {clusters[concept]!r} and {cluster!r}"
            )
        if cluster:
            clusters[concept] = cluster
    return clusters


def unknown_names(path: Path, said: Mapping[str, str], names: Sequence[str]) -> str:
    """One line about names in the file that are neither concepts nor parents of any; empty where there are none.

    Raises:
        UserError: none of the names is a concept.
    """
    known = set(names)
    if not known.intersection(said):
        some = ", ".join(repr(name) for name in list(said)[:3])
        raise UserError(
            f"{path}: names none of the concepts: it has {some}, they are {', '.join(map(repr, names[:3]))}"
        )
    known.update(said.values())
    strangers = [name for name in said if name not in known]
    if not strangers:
        return ""
    shown = ", ".join(repr(name) for name in strangers[:5]) + ", ..." * (len(strangers) > 5)
    return f"{path}: {len(strangers)} of its names are not among the concepts and are left out: {shown}"


def read_embedding(path: Path, names: Sequence[str]) -> NDArray[np.float64]:
    """Another embedding of the concepts: [concepts, dimensions], nan for those that it does not have.

    A CSV has a line `name,number,number,...` a concept; an npz has `names` [n] and `vectors` [n, dimensions].

    Raises:
        UserError: not such a file, a figure that is not finite, or fewer than two of the concepts in it.
    """
    found = _npz(path) if path.suffix.lower() == ".npz" else _csv_vectors(path)
    common = [name for name in names if name in found]
    if len(common) < 2:
        raise UserError(f"{path}: has {len(common)} of the {len(names)} concepts; at least two are needed")
    width = len(found[common[0]])
    embedding = np.full((len(names), width), np.nan)
    for n, name in enumerate(names):
        if name in found:
            embedding[n] = found[name]
    return embedding


def write_trees(path: Path, names: Sequence[str], trees: Mapping[str, Tree], fires: Matrix, alike: Matrix) -> None:
    """A line a concept and algorithm: `algorithm,child,parent,similarity,cosine`; no parent below the root.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["algorithm", "child", "parent", "similarity", "cosine"])
    for algorithm, tree in trees.items():
        for child in tree.order:
            parent = int(tree.parents[child])
            if parent == ROOT:
                writer.writerow([algorithm, names[child], "", "", ""])
            else:
                figures = (f"{matrix[parent, child]:.4f}" for matrix in (fires, alike))
                writer.writerow([algorithm, names[child], names[parent], *figures])
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of a CSV's lines, without empty ones and a heading."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a text file (UTF-8)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from None
    rows = [(line, row) for line, row in rows if any(row)]
    if rows and rows[0][1][0].casefold() in HEADINGS:
        rows = rows[1:]
    if not rows:
        raise UserError(f"{path}: is empty")
    return rows


def _pairs(path: Path, form: str) -> list[tuple[int, tuple[str, str]]]:
    pairs = []
    for line, row in _rows(path):
        if len(row) != 2 or not row[0]:
            raise UserError(f"{path}: line {line}: must be {form}")
        pairs.append((line, (row[0], row[1])))
    return pairs


def _csv_vectors(path: Path) -> dict[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    rows = _rows(path)
    width = len(rows[0][1])
    for line, (name, *cells) in rows:
        if name in found:
            raise UserError(f"{path}: line {line}: {name!r} is there twice")
        if len(cells) + 1 != width or not cells:
            raise UserError(f"{path}: line {line}: must be a name and {max(1, width - 1)} numbers")
        try:
            found[name] = np.array([float(cell) for cell in cells])
        except ValueError:
            raise UserError(f"{path}: line {line}: must be a name and numbers") from None
        if not np.isfinite(found[name]).all():
            raise UserError(f"{path}: line {line}: {name!r} has a figure that is not finite")
    return found


def _npz(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, vectors = arrays["names"], np.asarray(arrays["vectors"], np.float64)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (KeyError, ValueError, zipfile.BadZipFile, EOFError):
        raise UserError(f"{path}: must be an npz of names [n] (text) and vectors [n, dimensions]") from None
    if names.ndim != 1 or names.dtype.kind != "U" or vectors.ndim != 2 or len(names) != len(vectors):
        raise UserError(f"{path}: must be an npz of names [n] (text) and vectors [n, dimensions]")
    if len(set(names.tolist())) != len(names):
        raise UserError(f"{path}: a name is there twice")
    for name, vector in zip(names.tolist(), vectors, strict=True):
        if not np.isfinite(vector).all():
            raise UserError(f"{path}: {name!r} has a figure that is not finite")
    return dict(zip(names.tolist(), vectors, strict=True))
