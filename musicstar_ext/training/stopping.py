"""Ending a training between two steps: on SIGTERM, on Ctrl-C, or after some minutes."""

from __future__ import annotations

import signal
import time
from types import FrameType


class StopRequest:
    """Within the context, SIGTERM and Ctrl-C are noted instead of obeyed; a second one is obeyed at once."""

    def __init__(self, max_minutes: float = 0.0) -> None:
        self._deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")
        self._signal: int | None = None

    def __enter__(self) -> StopRequest:
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def requested(self) -> bool:
        return self._signal is not None or self.seconds_left <= 0

    @property
    def signalled(self) -> bool:
        """Whether it was a signal, and not the time."""
        return self._signal is not None

    @property
    def interrupted(self) -> bool:
        """Whether it was Ctrl-C, which a command answers with its own exit status."""
        return self._signal == signal.SIGINT

    @property
    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
