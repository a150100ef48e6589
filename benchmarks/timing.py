"""The one timer of all benchmarks: cases interleaved, medians with their spread, the machine named."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def interleaved(cases: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, tuple[float, float]]:
    """Seconds a call of each case: (median, half the range between the quartiles).

    A round runs every case once, so that a machine that slows down slows all of them; the first round is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for counted in [False] + [True] * rounds:
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            if counted:
                seconds[name].append(time.perf_counter() - start)
    result = {}
    for name, times in seconds.items():
        lower, _, upper = statistics.quantiles(times, n=4)
        result[name] = statistics.median(times), (upper - lower) / 2
    return result


def machine() -> dict[str, str]:
    """Processor, system and commit, for the record."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = f"{names[0]} ({len(names)} cores)" if names else processor
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {"processor": processor, "system": platform.platform(), "commit": commit or "unknown"}
