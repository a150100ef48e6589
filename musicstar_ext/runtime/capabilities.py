"""What this installation can do on this machine, for people and for bug reports."""

from __future__ import annotations

from typing import Any

from musicstar_ext._version import __version__

from .core import core
from .engine import active_isa, available_threads
from .gpus import best_gpu, found_gpus
from .precision import GPU_PRECISIONS, PRECISIONS, choose_gpu_precision, choose_precision


def capabilities() -> dict[str, Any]:
    """Version, instruction sets, GPUs (or the reason why there is none), threads and precisions, ready for JSON.

    `devices` are those that `--device` takes here, `auto` the one that it takes by itself.

    Raises:
        UserError: MUSICSTAR_ISA names an instruction set that is unknown or not there.
    """
    isa = active_isa()
    gpus: list[dict[str, Any]] = []
    usable: list[str] = []
    reason = ""
    try:
        gpus = [dict(device) for device in core.cuda_devices()]
        usable = [gpu.device for gpu in found_gpus() if gpu.usable]
    except RuntimeError as error:
        reason = str(error)
    best = best_gpu()
    return {
        "version": __version__,
        "isa": {"active": isa, "supported": core.supported_isas()},
        "cuda": {
            "build": core.cuda_build(),
            "devices": gpus,
            "reason": reason,
            "precisions": {"auto": choose_gpu_precision("auto", "cuda"), "supported": list(GPU_PRECISIONS)},
        },
        "threads": available_threads(),
        "devices": ["cpu", *usable],
        "auto": best.device if best else "cpu",
        "precisions": {"auto": choose_precision("auto", isa), "supported": list(PRECISIONS)},
    }
