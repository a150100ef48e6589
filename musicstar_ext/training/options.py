"""A config from `--set KEY=VALUE` options, and to and from the JSON of a run folder.

Keys are the fields of the method's config; those of a nested config have its name before a dot: `encoder.channels`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from musicstar_ext.errors import UserError

Config = TypeVar("Config")


def to_flat(config: Any) -> dict[str, Any]:
    """{key: value} of a config, nested keys with a dot."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat.update({f"{field.name}.{key}": inner for key, inner in to_flat(value).items()})
        else:
            flat[field.name] = value
    return flat


def from_flat(config_type: type[Config], flat: Mapping[str, Any]) -> Config:
    """The inverse of `to_flat`; keys that are missing take the config's defaults.

    Raises:
        UserError: the config itself refuses a value.
    """
    arguments: dict[str, Any] = {}
    for name, kind in get_type_hints(config_type).items():
        if dataclasses.is_dataclass(kind):
            prefix = f"{name}."
            inner = {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}
            arguments[name] = from_flat(kind, inner)  # type: ignore[arg-type]
        elif name in flat:
            arguments[name] = flat[name]
    return config_type(**arguments)


def with_settings(
    config_type: type[Config], base: Mapping[str, Any], settings: Iterable[str], others: str = ""
) -> Config:
    """A config from flat values and, over them, `KEY=VALUE` texts.

    Args:
        others: said after the list of known keys where one is unknown: what else may be set.

    Raises:
        UserError: a text without "=", an unknown key (the message lists the known ones), or a value of another type.
    """
    kinds = _kinds(config_type)
    flat = {**to_flat(config_type()), **base}  # a config may have other defaults for a nested one than that has
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UserError(f"--set takes KEY=VALUE, not {setting!r}")
        if key not in kinds:
            raise UserError(f"--set: unknown key {key!r}; known: {', '.join(kinds)}{others}")
        flat[key] = _parse(key, text, kinds[key])
    return from_flat(config_type, flat)


def _kinds(config_type: Any) -> dict[str, Any]:
    """{key: type} of every key."""
    kinds: dict[str, Any] = {}
    for name, kind in get_type_hints(config_type).items():
        if dataclasses.is_dataclass(kind):
            kinds.update({f"{name}.{key}": inner for key, inner in _kinds(kind).items()})
        elif name in {field.name for field in dataclasses.fields(config_type)}:
            kinds[name] = kind
    return kinds


def _parse(key: str, text: str, kind: Any) -> Any:
    choices = get_args(kind)
    if choices:
        if text not in choices:
            raise UserError(f"--set: {key} must be one of {', '.join(choices)}, not {text!r}")
        return text
    if kind is str:
        return text
    try:
        value = kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UserError(f"--set: {key} must be {what}, not {text!r}") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise UserError(f"--set: {key} must be a finite number, not {text!r}")
    return value
