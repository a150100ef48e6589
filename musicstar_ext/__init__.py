"""Music-STAR: hand in a recording of two instruments, get the same music played by two others.

    import musicstar_ext

    translator = musicstar_ext.load("strings-piano_to_clarinet-vibraphone")   # a shipped model, or a path
    audio = translator.translate(samples, sample_rate=44100, seed=0)          # numpy in, 16 kHz numpy out

`load` and `Translator` need numpy, soxr, safetensors and the compiled module `_musicstar_core`, never torch. They are
looked up on first use, so that importing a part of the package costs that part only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import UserError

if TYPE_CHECKING:
    from .runtime import Translator, load

__all__ = ["Translator", "UserError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Translator", "load"):
        from . import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
