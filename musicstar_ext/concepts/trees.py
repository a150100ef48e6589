"""Trees over concepts: each concept has one parent, another concept or the root that stands above them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from musicstar_ext.errors import UserError

ROOT = -1

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """A tree over concepts 0, 1, ...

    Attributes:
        parents: [concepts]; ROOT for a concept at the top.

    Raises:
        ValueError: a parent that is no concept, or concepts in a circle.
    """

    parents: Integers

    def __post_init__(self) -> None:
        if len(self.parents) and (self.parents.min() < ROOT or self.parents.max() >= len(self.parents)):
            raise ValueError("a parent is no concept")
        if len(self.order) < len(self.parents):
            raise ValueError("concepts are their own ancestors")

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def children(self) -> list[list[int]]:
        """Of each concept; of the root under the last index, -1."""
        children: list[list[int]] = [[] for _ in range(len(self.parents) + 1)]
        for child, parent in enumerate(self.parents.tolist()):
            children[parent].append(child)
        return children

    @cached_property
    def order(self) -> list[int]:
        """All concepts, parents before their children, level by level."""
        order = list(self.children[ROOT])
        for concept in order:
            order.extend(self.children[concept])
        return order

    @cached_property
    def depths(self) -> Integers:
        """[concepts]; 1 at the top."""
        depths = np.zeros(len(self.parents) + 1, np.int64)  # the last is the root's
        for concept in self.order:
            depths[concept] = depths[self.parents[concept]] + 1
        return depths[:-1]

    @cached_property
    def edges(self) -> Integers:
        """[edges, 2] of (parent, child) between concepts: those from the root are left out."""
        below = np.flatnonzero(self.parents != ROOT)
        return np.stack([self.parents[below], below], axis=1)

    def ancestors(self) -> Integers:
        """[pairs, 2] of (ancestor, descendant) between concepts."""
        above = np.zeros((len(self) + 1, len(self)), np.bool_)  # the last row is the root's: nobody
        for concept in self.order:
            parent = self.parents[concept]
            above[concept] = above[parent]
            if parent != ROOT:
                above[concept, parent] = True
        descendants, ancestors = np.nonzero(above[:-1])
        return np.stack([ancestors, descendants], axis=1).astype(np.int64)

    def restricted(self, wanted: NDArray[np.bool_]) -> Tree:
        """The tree of some concepts, renumbered: each hangs below its nearest ancestor that is wanted."""
        nearest = np.full(len(self) + 1, ROOT, np.int64)  # nearest wanted at or above
        numbers = np.cumsum(wanted) - 1
        parents = np.full(int(wanted.sum()), ROOT, np.int64)
        for concept in self.order:
            above = nearest[self.parents[concept]]
            if wanted[concept]:
                parents[numbers[concept]] = above
                nearest[concept] = numbers[concept]
            else:
                nearest[concept] = above
        return Tree(parents)


def known_tree(names: Sequence[str], parents: Mapping[str, str]) -> Tree:
    """The part over `names` of a tree {child: parent}, in which inner nodes need not be concepts: those are skipped.

    Raises:
        UserError: names in a circle; they are named.
    """
    check_no_circle(parents)
    number = {name: n for n, name in enumerate(names)}
    result = np.full(len(names), ROOT, np.int64)
    for name, n in number.items():
        above = parents.get(name)
        while above is not None and above not in number:
            above = parents.get(above)
        if above is not None:
            result[n] = number[above]
    return Tree(result)


def tops(names: Sequence[str], parents: Mapping[str, str]) -> dict[str, str]:
    """The branch of a tree {child: parent} that each of the names is in: its highest ancestor, or itself.

    Where one root holds everything, the branches are what hangs below it.
    """
    check_no_circle(parents)
    inner = set(parents.values())
    paths = {}
    for name in names:
        path = [name]
        while path[-1] in parents:
            path.append(parents[path[-1]])
        if len(path) > 1 or name in inner:
            paths[name] = path[::-1]
    roots = {path[0] for path in paths.values()}
    at = 1 if len(roots) == 1 else 0
    return {name: path[min(at, len(path) - 1)] for name, path in paths.items()}


def check_no_circle(parents: Mapping[str, str]) -> None:
    """Raises UserError, with the names, where following {child: parent} comes back."""
    good: set[str] = set()
    for start in parents:
        path: dict[str, None] = {}
        name: str | None = start
        while name is not None and name not in good:
            if name in path:
                circle = list(path)[list(path).index(name) :]
                shown = " > ".join([*circle[:6], *(["..."] if len(circle) > 6 else []), name])
                raise UserError(f"the tree has a circle: {shown}")
            path[name] = None
            name = parents.get(name)
        good.update(path)
