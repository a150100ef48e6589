"""The one timer of all benchmarks: cases interleaved, medians with their spread, the machine and the versions named."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from musicstar_ext._version import __version__

Case = TypeVar("Case")  # whatever names a case


@dataclass(frozen=True)
class Rate:
    """How fast one case went: `median` units a second, and half the range between the quartiles over the median."""

    median: float
    spread: float

    def times(self, factor: float) -> Rate:
        """The same in units that many times smaller: steps of B lanes -> samples."""
        return Rate(self.median * factor, self.spread)


@dataclass(frozen=True)
class Effort:
    """How long to time: about `seconds` a call, `rounds` calls of each case that count."""

    seconds: float = 0.06
    rounds: int = 7


QUICK = Effort(seconds=0.002, rounds=3)


def rates(
    cases: Mapping[Case, Callable[[int], object]], effort: Effort, clock: Callable[[], float] = time.perf_counter
) -> dict[Case, Rate]:
    """Units a second of each case; `call(n)` does n units of its work.

    Each case first finds the n that takes about `effort.seconds`, which also warms it up. Then a round runs every case
    once, so that a machine that slows down slows all of them. `time.process_time` as the clock counts what this process
    had of the processor: for single threads on a machine that other programs share.
    """
    counts = {name: _count(call, effort.seconds, clock) for name, call in cases.items()}
    found: dict[Case, list[float]] = {name: [] for name in cases}
    for _ in range(effort.rounds):
        for name, call in cases.items():
            found[name].append(counts[name] / _seconds(call, counts[name], clock))
    result = {}
    for name, values in found.items():
        lower, median, upper = statistics.quantiles(values, n=4)
        result[name] = Rate(median, (upper - lower) / 2 / median)
    return result


def _count(call: Callable[[int], object], seconds: float, clock: Callable[[], float]) -> int:
    """The number of units that takes about `seconds`, from runs that double until they take a quarter of it.

    The first run warms up and does not count, unless a unit is so long that nothing else is needed.
    """
    if _seconds(call, 1, clock) > 2 * seconds:
        return 1
    count = 1
    while (taken := _seconds(call, count, clock)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / taken))


def _seconds(call: Callable[[int], object], count: int, clock: Callable[[], float]) -> float:
    start = clock()
    call(count)
    return clock() - start


def machine() -> dict[str, str]:
    """Processor, system, package version and commit, for the record."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line.split(":", 1) for line in info.read_text().splitlines() if ":" in line]
        fields = {key.strip(): value.strip() for key, value in lines}
        cores = sum(key.strip() == "processor" for key, _ in lines)
        model = f"family {fields['cpu family']} model {fields['model']}" if "cpu family" in fields else ""
        processor = f"{fields.get('model name', processor)} ({model}, {cores} cores)"
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "processor": processor,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "version": __version__,
        "commit": commit or "unknown",
    }
