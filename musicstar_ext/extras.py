"""Optional libraries, imported when first needed."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingExtraError


def extra_module(name: str, extra: str = "eval") -> Any:
    """The module `name`, from the package of that name.

    Raises:
        MissingExtraError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(name.split(".")[0], extra) from None
