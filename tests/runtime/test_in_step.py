"""Streams that branch and meet again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from musicstar_ext.runtime.in_step import copies, in_step


def blocks(samples: np.ndarray, *sizes: int) -> Iterator[np.ndarray]:
    return iter(np.split(samples, np.cumsum(sizes)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_copies_hold_the_same_items_in_whatever_order_they_are_read(count: int) -> None:
    streams = copies(iter(range(20)), count)
    for i in range(20):
        for stream in np.random.default_rng(i).permutation(count):
            assert next(streams[stream]) == i
    assert all(list(stream) == [] for stream in streams)


def test_copies_keep_only_what_the_slowest_has_not_read() -> None:
    alive = 0

    class Item:
        def __init__(self) -> None:
            nonlocal alive
            alive += 1

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    fast, slow = copies((Item() for _ in range(100)), 2)
    for _ in range(100):
        next(fast)
        next(slow)
        assert alive <= 2


def test_streams_come_in_equal_spans_and_end_one_by_one() -> None:
    a, b = np.arange(10, dtype=np.float32), np.arange(6, dtype=np.float32)
    spans = list(in_step({"a": blocks(a, 3, 0, 4), "b": blocks(b, 1, 1)}))
    for span in spans:
        assert len({len(block) for block in span.values()}) == 1
    assert np.array_equal(np.concatenate([span["a"] for span in spans]), a)
    assert np.array_equal(np.concatenate([span["b"] for span in spans if "b" in span]), b)
    assert [sorted(span) for span in spans] == sorted([sorted(span) for span in spans], key=len, reverse=True)


def test_no_stream_is_read_ahead_of_the_others() -> None:
    taken = {"a": 0, "b": 0}

    def counted(name: str, size: int) -> Iterator[np.ndarray]:
        for _ in range(50):
            taken[name] += size
            yield np.zeros(size, np.float32)

    given = 0
    for span in in_step({"a": counted("a", 3), "b": counted("b", 7)}):
        given += len(next(iter(span.values())))
        if len(span) == 2:
            assert max(taken.values()) < given + 7


def test_nothing_from_nothing() -> None:
    assert list(in_step({})) == []
    assert list(in_step({"a": iter([])})) == []
