"""Streams that branch and meet again, in memory that depends on how far they get apart, not on their length."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from .samples import Audio

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def copies(stream: Iterable[T], count: int) -> list[Iterator[T]]:
    """The same items `count` times over; those that the fastest reader has taken are kept for the slowest."""
    source = iter(stream)
    if count == 1:
        return [source]
    queues: list[deque[T]] = [deque() for _ in range(count)]

    def read(queue: deque[T]) -> Iterator[T]:
        while True:
            if not queue:
                try:
                    item = next(source)
                except StopIteration:
                    return
                for each in queues:
                    each.append(item)
            yield queue.popleft()

    return [read(queue) for queue in queues]


def in_step(streams: Mapping[K, Iterator[Audio]]) -> Iterator[dict[K, Audio]]:
    """Equal spans of several streams of [n] samples side by side; each is read only when the others have caught up.

    A stream that has ended is left out of what follows.
    """
    waiting: dict[K, Audio] = {key: np.zeros(0, np.float32) for key in streams}
    running = dict(streams)
    while True:
        for key in list(running):
            while key in running and not len(waiting[key]):
                try:
                    waiting[key] = next(running[key])
                except StopIteration:
                    del running[key]
        waiting = {key: block for key, block in waiting.items() if len(block)}
        if not waiting:
            return
        span = min(map(len, waiting.values()))
        yield {key: block[:span] for key, block in waiting.items()}
        waiting = {key: block[span:] for key, block in waiting.items()}
