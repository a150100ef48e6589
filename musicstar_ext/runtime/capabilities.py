"""What this installation can do on this machine, for people and for bug reports."""

from __future__ import annotations

from typing import Any

from musicstar_ext._version import __version__

from .core import core
from .engine import active_isa, available_threads
from .precision import PRECISIONS, choose_precision


def capabilities() -> dict[str, Any]:
    """Version, instruction sets, GPUs (or the reason why there is none), threads and precisions, ready for JSON.

    Raises:
        UserError: MUSICSTAR_ISA names an instruction set that is unknown or not there.
    """
    isa = active_isa()
    devices: list[dict[str, Any]] = []
    reason = ""
    try:
        devices = [dict(device) for device in core.cuda_devices()]
    except RuntimeError as error:
        reason = str(error)
    return {
        "version": __version__,
        "isa": {"active": isa, "supported": core.supported_isas()},
        "cuda": {"build": core.cuda_build(), "devices": devices, "reason": reason},
        "threads": available_threads(),
        "devices": ["cpu"],
        "precisions": {"auto": choose_precision("auto", isa), "supported": list(PRECISIONS)},
    }
