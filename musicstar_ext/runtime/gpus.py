"""The GPUs of this machine, and which of them a wish such as `cuda:1` means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from musicstar_ext.errors import UserError

from .core import core

LEAST_CAPABILITY = (8, 0)  # compute capability: bf16 on tensor cores
# Compute capabilities on which the tests marked `cuda` have passed on a real GPU: none yet. What nobody asks for by
# name (`auto`, the networks' stacks in training) goes to a GPU of these only; `cuda` takes any that is usable.
PROVEN_CAPABILITIES: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it; an emulated one is a build made for tests, which runs kernels on the CPU."""

    index: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    emulated: bool

    @property
    def device(self) -> str:
        """As `choose_engine` takes it."""
        return f"cuda:{self.index}"

    @property
    def usable(self) -> bool:
        """Whether the kernels run on it."""
        return self.capability >= LEAST_CAPABILITY

    @property
    def proven(self) -> bool:
        """Whether the kernels have been tested on a real GPU of this kind."""
        return self.capability in PROVEN_CAPABILITIES

    @property
    def architecture(self) -> str:
        """What stands in for the instruction set: sm_90."""
        name = "sm_{}{}".format(*self.capability)
        return f"{name} (emulated)" if self.emulated else name


def found_gpus() -> list[Gpu]:
    """All GPUs, usable or not.

    Raises:
        RuntimeError: why there are none, in one line: no CUDA in this build, no driver, no device.
    """
    return [
        Gpu(
            index=found["index"],
            name=found["name"],
            capability=_capability(found["compute_capability"]),
            memory_bytes=found["memory_bytes"],
            emulated=found["emulated"],
        )
        for found in core.cuda_devices()
    ]


def best_gpu() -> Gpu | None:
    """The one that `auto` takes: the first that is real and of a kind on which the kernels have been proven, if any."""
    try:
        gpus = found_gpus()
    except RuntimeError:
        return None
    return next((gpu for gpu in gpus if gpu.usable and gpu.proven and not gpu.emulated), None)


def named_gpu(device: str) -> Gpu:
    """The one that `cuda` (the first) or `cuda:N` means.

    Raises:
        UserError: another name, a GPU that is not there or too old, or why there is none.
    """
    match = re.fullmatch(r"cuda(?::(\d{1,9}))?", device, re.ASCII)
    if match is None:
        raise UserError(f"unknown device {device!r}: auto, cpu, cuda or cuda:N")
    try:
        gpus = found_gpus()
    except RuntimeError as error:
        raise UserError(f"device {device}: {error}") from None
    index = int(match[1] or 0)
    gpu = next((found for found in gpus if found.index == index), None)
    if gpu is None:
        count = "1 GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
        raise UserError(f"device {device}: this machine has {count}, counted from 0")
    if not gpu.usable:
        raise UserError(
            f"device {device}: {gpu.name} has compute capability {'.'.join(map(str, gpu.capability))}, "
            f"and {'.'.join(map(str, LEAST_CAPABILITY))} is the least that can be used"
        )
    return gpu


def _capability(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
