"""Progress bars, one for each stage that reports itself."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tqdm import tqdm


class Bars:
    """Called with (stage, done, total); a bar a stage, on a terminal only, gone when the block ends."""

    def __init__(self, quiet: bool = False) -> None:
        self._disabled = True if quiet else None
        self._bars: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._bars:
            self._bars[stage] = tqdm(total=total, desc=stage, leave=False, disable=self._disabled)
        self._bars[stage].update(done - self._bars[stage].n)

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for bar in self._bars.values():
            bar.close()
