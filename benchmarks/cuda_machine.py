"""The GPU that a benchmark runs on: its name, driver and CUDA version for the record, and what it could do at best.

Peaks are measured in the same run, through PyTorch: multiply-adds by a large bf16 (or fp32) matrix product on random
numbers, bytes by copying from one large buffer to another, what is read and what is written counted.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable

import bounds
import torch

from musicstar_ext.errors import UserError


def find_gpu(index: int = 0) -> torch.device:
    """The GPU as PyTorch names it.

    Raises:
        UserError: PyTorch has no CUDA, or sees no such GPU.
    """
    if torch.version.cuda is None:
        raise UserError("--device cuda: this PyTorch was built without CUDA")
    if not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no GPU")
    if not 0 <= index < torch.cuda.device_count():
        raise UserError(f"--device cuda:{index}: there are GPUs 0 to {torch.cuda.device_count() - 1}")
    return torch.device("cuda", index)


def versions(index: int, name: str) -> dict[str, str]:
    """The GPU's name, its driver's version and that of PyTorch's CUDA, as every row of a result has them."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", f"--id={index}"]
    try:
        driver = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    return {"gpu": name, "driver": driver or "unknown", "cuda": torch.version.cuda or "none"}


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """How long the GPU takes for some work, by its own clock: the median over `repeats`, after two that warm up."""
    for _ in range(2):
        work()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record(torch.cuda.current_stream(device))
        work()
        end.record(torch.cuda.current_stream(device))
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times)[repeats // 2]


@functools.cache
def peak_multiply_adds(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-adds a second of a square matrix product: of 8192 in bf16, of 4096 in fp32."""
    size = 8192 if dtype == torch.bfloat16 else 4096
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return size**3 / seconds_of(lambda: torch.mm(a, b, out=out), device)


def peak(place: torch.device, precision: str) -> float:
    """Multiply-adds a second of a precision, fp16 as bf16.

    Where PyTorch sees no GPU (the emulated one is none), of one core of the CPU in fp32.
    """
    if place.type == "cuda":
        return peak_multiply_adds(place, torch.float32 if precision == "fp32" else torch.bfloat16)
    return bounds.peak("fp32", bounds.core.active_isa())


@functools.cache
def bandwidth(device: torch.device) -> float:
    """Bytes a second of the GPU's memory: 2 GB read and 2 GB written."""
    source = torch.empty(1 << 29, device=device).normal_()
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds_of(lambda: target.copy_(source), device)
