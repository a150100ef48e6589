"""Trees: what follows from the parents, known trees with inner nodes that are no concepts, circles."""

from __future__ import annotations

import numpy as np
import pytest

from musicstar_ext.concepts.trees import ROOT, Tree, check_no_circle, known_tree, tops
from musicstar_ext.errors import UserError

# 0 has 1 and 2, 1 has 3; 4 is alone.
PARENTS = [ROOT, 0, 0, 1, ROOT]


def pairs(array) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in array}


def test_what_follows_from_parents():
    tree = Tree(np.array(PARENTS))
    assert tree.children == [[1, 2], [3], [], [], [], [0, 4]]
    assert tree.order == [0, 4, 1, 2, 3]
    assert tree.depths.tolist() == [1, 2, 2, 3, 1]
    assert pairs(tree.edges) == {(0, 1), (0, 2), (1, 3)}
    assert pairs(tree.ancestors()) == {(0, 1), (0, 2), (1, 3), (0, 3)}


def test_restricted_keeps_who_is_above_whom():
    random = np.random.default_rng(0)
    for _ in range(30):
        count = int(random.integers(1, 20))
        tree = Tree(np.array([random.integers(-1, n) for n in range(count)]))
        wanted = random.random(count) < 0.6
        numbers = np.flatnonzero(wanted)
        part = tree.restricted(wanted)
        expected = {(a, d) for a, d in pairs(tree.ancestors()) if wanted[a] and wanted[d]}
        assert {(int(numbers[a]), int(numbers[d])) for a, d in pairs(part.ancestors())} == expected


@pytest.mark.parametrize("parents", [[0], [1, 0], [ROOT, 2, 3, 1], [5, ROOT], [-2]])
def test_what_is_no_tree_is_refused(parents):
    with pytest.raises(ValueError, match=r"ancestors|no concept"):
        Tree(np.array(parents))


def test_an_empty_tree_and_a_long_one():
    assert len(Tree(np.zeros(0, np.int64)).edges) == 0
    chain = Tree(np.arange(-1, 2999))
    assert chain.depths.max() == 3000


def test_known_trees_skip_what_is_no_concept():
    parents = {"violin": "bowed", "bowed": "strings", "harp": "strings", "strings": "all", "flute": "wind"}
    tree = known_tree(["strings", "violin", "harp", "flute"], parents)
    assert tree.parents.tolist() == [ROOT, 0, 0, ROOT]


def test_branches_of_a_known_tree():
    parents = {"violin": "bowed", "bowed": "strings", "harp": "strings", "flute": "wind"}
    names = ["strings", "violin", "harp", "flute", "drum"]
    assert tops(names, parents) == {"strings": "strings", "violin": "strings", "harp": "strings", "flute": "wind"}
    rooted = {**parents, "strings": "all", "wind": "all"}
    assert tops(names[:4], rooted) == tops(names[:4], parents)


def test_circles_are_named():
    with pytest.raises(UserError, match="circle: b > c > b"):
        check_no_circle({"a": "b", "b": "c", "c": "b"})
    with pytest.raises(UserError, match="circle: x > x"):
        check_no_circle({"x": "x"})
    check_no_circle({f"n{n}": f"n{n + 1}" for n in range(5000)})
