"""How much memory a piece of work takes at its peak, beyond what was held before it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(work: Callable[[], object], device: torch.device) -> float:
    """On a GPU what PyTorch's allocator handed out; on the CPU what the process held, where Linux tells (else NaN)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = float(torch.cuda.memory_allocated(device))
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)  # what was freed would otherwise count as held before
        CLEAR.write_text("5")  # the peak is now what is held
        before = _held("VmRSS")
        work()
        return _held("VmHWM") - before
    except OSError:
        return math.nan


def _held(key: str) -> float:
    """A field of /proc/self/status in bytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * float(line.split()[1])
    raise OSError(f"{STATUS} has no {key}")
