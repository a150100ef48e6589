"""Where weights start: one checkpoint for all networks, or one for each: "PATH" or "NETWORK=PATH,NETWORK=PATH"."""

from __future__ import annotations

from collections.abc import Callable


def warm_starts(init_from: str) -> list[tuple[str, str]]:
    """[(network, path), ...] of an `init_from`; the network is "" where all that the checkpoint has are meant."""
    if not init_from:
        return []
    parts = [part.partition("=") for part in init_from.split(",")]
    if not all(separator for _, separator, _ in parts):
        return [("", init_from)]  # a path, in which a comma or an equals sign is nothing but that
    return [(name, path) for name, _, path in parts]


def spelled(init_from: str, spell: Callable[[str], str]) -> str:
    """The same `init_from` with another spelling of its paths."""
    return ",".join(f"{name}={spell(path)}" if name else spell(path) for name, path in warm_starts(init_from))
