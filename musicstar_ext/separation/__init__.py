"""Separating a mixture into its stems with a waveform Demucs that was trained here."""

from .separator import Separator, load_separator, torch_device

__all__ = ["Separator", "load_separator", "torch_device"]
