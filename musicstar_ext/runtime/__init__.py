"""Translation without torch: load a checkpoint, encode, sample, stream."""

from .capabilities import capabilities
from .translator import Translator, load

__all__ = ["Translator", "capabilities", "load"]
