"""The one place that imports the compiled module, and checks that it belongs to this package."""

from __future__ import annotations

from musicstar_ext._version import __version__
from musicstar_ext.errors import UserError


class CoreImportError(UserError, ImportError):
    """The compiled module is missing or from another version: an ImportError in Python, one line in a command."""


try:
    import _musicstar_core as core
except ImportError as error:
    raise CoreImportError(f"the compiled module _musicstar_core cannot be imported ({error}): pip install .") from None

if core.__version__ != __version__:
    raise CoreImportError(
        f"the compiled module _musicstar_core has version {core.__version__}, not {__version__} as the package: "
        "pip install ."
    )

__all__ = ["CoreImportError", "core"]
