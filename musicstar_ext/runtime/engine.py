"""Where a model runs: device, precision, instruction set and threads, chosen once and then fixed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from musicstar_ext.errors import UserError

from .core import core
from .precision import Precision, choose_precision

MOST_THREADS = 1024


@dataclass(frozen=True)
class Engine:
    """What `choose_engine` decided; only precision and instruction set touch results, and only by rounding."""

    device: str
    precision: Precision
    isa: str
    threads: int


def choose_engine(device: str = "auto", precision: str = "auto", threads: int = 0) -> Engine:
    """Check a wish against this build and this machine.

    Args:
        device: auto, cpu, or cuda[:N].
        precision: auto (by the instruction set: `runtime.precision`), fp32, bf16 or int8.
        threads: 0 for every processor that this process may use.

    Raises:
        UserError: an unknown name, or something that this version or this machine does not have.
    """
    isa = active_isa()
    return Engine(_device(device), choose_precision(precision, isa), isa, _threads(threads))


def active_isa() -> str:
    """The instruction set that runs: the best that the processor has, or the one that MUSICSTAR_ISA names.

    Raises:
        UserError: MUSICSTAR_ISA names an instruction set that is unknown or not there.
    """
    try:
        return core.active_isa()
    except ValueError as error:
        raise UserError(str(error)) from None


def available_threads() -> int:
    """Processors that this process may use (a container or taskset may allow fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _device(device: str) -> str:
    if device in ("auto", "cpu"):
        return "cpu"
    match = re.fullmatch(r"cuda(?::(\d+))?", device, re.ASCII)
    if match is None:
        raise UserError(f"unknown device {device!r}: auto, cpu, cuda or cuda:N")
    try:
        devices = core.cuda_devices()
    except RuntimeError as error:
        raise UserError(f"device {device}: {error}") from None
    index = int(match[1] or 0)
    if index not in [found["index"] for found in devices]:
        raise UserError(f"device {device}: this machine has {len(devices)} GPUs, counted from 0")
    raise UserError(f"device {device}: this version translates on the CPU; use --device cpu")


def _threads(threads: int) -> int:
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= MOST_THREADS:
        raise UserError(f"threads must be a whole number from 0 (all) to {MOST_THREADS}, not {threads!r}")
    return threads or available_threads()
