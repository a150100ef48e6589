"""The tree of largest total similarity: Edmonds' maximum spanning arborescence (Chu and Liu 1965, Edmonds 1967).

Tarjan's version for dense graphs (1977), O(n^2): follow each vertex's best incoming edge; a circle becomes one vertex,
whose incoming edges are charged with the edge of the circle that they would replace. What was contracted last is opened
first. networkx, against which this is tested, works edge by edge: millions for thousands of concepts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .trees import ROOT, Tree

ROOT_WEIGHT = 0.2  # a concept goes below the root rather than below one less similar: as in `heymann`


def arborescence(weights: NDArray[np.floating], root_weight: float = ROOT_WEIGHT) -> Tree:
    """The tree with the largest sum of weights[parent, child].

    Args:
        weights: [concepts, concepts], finite; the diagonal does not matter.
        root_weight: the weight of an edge from the root.
    """
    count = len(weights)
    root = count
    # incoming[v, u]: the edge u -> v between what stands for contracted vertices, which really runs
    # from tail[v, u] to head[v, u].
    incoming = np.full((count, count + 1), root_weight)
    incoming[:, :count] = weights.T
    np.fill_diagonal(incoming[:, :count], -np.inf)
    tail = np.broadcast_to(np.arange(count + 1, dtype=np.int32), incoming.shape).copy()
    head = np.broadcast_to(np.arange(count, dtype=np.int32)[:, np.newaxis], incoming.shape).copy()

    node = list(range(count))  # which node of the contraction forest a slot stands for
    above = [-1] * count  # of each node: the circle that it was contracted into
    circles: list[tuple[int, list[int]]] = []  # (node, its members), in the order they were contracted
    chosen: dict[int, tuple[int, int]] = {}  # node -> (tail, head) of its incoming edge
    weight = np.zeros(count)  # by slot, of the edge chosen
    new, on_path, done = 0, 1, 2
    state = [new] * count

    for start in range(count):
        if state[start] != new:
            continue
        path = [start]
        while True:
            slot = path[-1]
            state[slot] = on_path
            best = int(incoming[slot].argmax())
            weight[slot] = incoming[slot, best]
            chosen[node[slot]] = (int(tail[slot, best]), int(head[slot, best]))
            if best == root or state[best] == done:
                for each in path:
                    state[each] = done
                break
            if state[best] == new:
                path.append(best)
                continue
            first = path.index(best)
            circle = path[first:]
            _contract(circle, incoming, tail, head, weight)
            circles.append((len(above), [node[each] for each in circle]))
            for each in circle:
                above[node[each]] = len(above)
                state[each] = done  # a dead slot: no edge leads from it any more
            node[circle[0]] = len(above)
            above.append(-1)
            del path[first + 1 :]

    # Open the circles: the edge that enters one replaces the edge of the member that it enters.
    for number, members in reversed(circles):
        entering = chosen[number]
        member = entering[1]
        while above[member] != number:
            member = above[member]
        assert member in members
        chosen[member] = entering
    parents = [chosen[concept][0] for concept in range(count)]
    return Tree(np.array([ROOT if parent == root else parent for parent in parents], np.int64))


def _contract(
    circle: list[int],
    incoming: NDArray[np.float64],
    tail: NDArray[np.int32],
    head: NDArray[np.int32],
    weight: NDArray[np.float64],
) -> None:
    """Make the circle's first slot stand for all of it, and no edge lead from or to the others."""
    kept, others = circle[0], circle[1:]
    incoming[kept] -= weight[kept]
    for each in others:
        into = incoming[each] - weight[each]
        better = into > incoming[kept]
        incoming[kept, better] = into[better]
        tail[kept, better] = tail[each, better]
        head[kept, better] = head[each, better]
        better = incoming[:, each] > incoming[:, kept]
        incoming[better, kept] = incoming[better, each]
        tail[better, kept] = tail[better, each]
        head[better, kept] = head[better, each]
    incoming[kept, circle] = -np.inf
    incoming[:, others] = -np.inf
