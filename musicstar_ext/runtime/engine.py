"""Where a model runs: device, precision, instruction set and threads, chosen once and then fixed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from musicstar_ext.errors import UserError

from .core import core
from .gpus import Gpu, best_gpu, named_gpu
from .precision import Precision, choose_gpu_precision, choose_precision

MOST_THREADS = 1024


@dataclass(frozen=True)
class Engine:
    """What `choose_engine` decided; device, precision and instruction set touch results, and only by rounding.

    Attributes:
        device: "cpu", or "cuda:N".
        isa: the CPU's instruction set; for a GPU its architecture, such as "sm_90".
        threads: of the CPU; a GPU's kernels use none of them.
        gpu: None for the CPU.
        kernels: {"encoder", "decoder": which kernels a GPU ran them with}, in words, as they come to be made.
    """

    device: str
    precision: Precision
    isa: str
    threads: int
    gpu: Gpu | None = None
    kernels: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def device_name(self) -> str:
        """What the device calls itself; "cpu" for the CPU."""
        return "cpu" if self.gpu is None else self.gpu.name


def choose_engine(device: str = "auto", precision: str = "auto", threads: int = 0) -> Engine:
    """Check a wish against this build and this machine.

    Args:
        device: cpu, cuda (the first GPU), cuda:N, or auto: a GPU where this build has CUDA and there is one of compute
            capability 8.0 or later (and int8 is not asked for, which GPUs do not have), otherwise the CPU.
        precision: fp32, bf16, int8 (CPU only), or auto (bf16 on a GPU; on the CPU by the instruction set:
            `runtime.precision`).
        threads: 0 for every processor that this process may use.

    Raises:
        UserError: an unknown name, or something that this build or this machine does not have.
    """
    count = _threads(threads)
    if device == "auto":
        gpu = None if precision == "int8" else best_gpu()
    else:
        gpu = None if device == "cpu" else named_gpu(device)
    if gpu is None:
        isa = active_isa()
        return Engine("cpu", choose_precision(precision, isa), isa, count)
    return Engine(gpu.device, choose_gpu_precision(precision, gpu.device), gpu.architecture, count, gpu)


@contextlib.contextmanager
def device_errors(engine: Engine) -> Iterator[None]:
    """What goes wrong on a GPU meanwhile becomes a UserError: one line that names the device."""
    try:
        yield
    except RuntimeError as error:
        if engine.gpu is None or not isinstance(error, core.CudaError):
            raise
        advice = ""
        if isinstance(error, core.CudaOutOfMemoryError):
            advice = "; fewer lanes (--lanes) take less, and --device cpu takes none"
        raise UserError(f"device {engine.device}: {error}{advice}") from None


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


def _threads(threads: int) -> int:
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= MOST_THREADS:
        raise UserError(f"threads must be a whole number from 0 (all) to {MOST_THREADS}, not {threads!r}")
    return threads or available_threads()
