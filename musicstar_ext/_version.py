"""The package's version; `pyproject.toml` and the compiled module read it from here."""

__version__ = "0.1.0"
