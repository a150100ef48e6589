"""Between which domains a method translates, and which of their instruments correspond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from musicstar_ext.errors import UserError

from .recipe import Recipe


@dataclass(frozen=True)
class DirectionRecipe(Recipe):
    """A recipe with a direction.

    `source` and `target` name domains of the training set; left empty, they are its first and its second.
    """

    source: str = ""
    target: str = ""

    def direction(self, domains: Mapping[str, Sequence[str]]) -> tuple[str, str]:
        """The source's and the target's name, among {domain: stems}.

        Raises:
            UserError: they are not two of the domains.
        """
        source = self.source or next((name for name in domains if name != self.target), "")
        target = self.target or next((name for name in domains if name != source), "")
        if source == target or source not in domains or target not in domains:
            known = ", ".join(domains)
            raise UserError(f"source and target must be two of the domains ({known}), not {source!r} and {target!r}")
        return source, target


def corresponding_stems(domains: Mapping[str, Sequence[str]], source: str, target: str) -> list[tuple[str, str]]:
    """(stem of the source, the stem of the target that plays its notes), by position.

    Raises:
        UserError: one domain has more stems than the other.
    """
    heard, played = domains[source], domains[target]
    if len(heard) != len(played):
        raise UserError(
            f"the stems of {source} ({', '.join(heard)}) and of {target} ({', '.join(played)}) "
            "must correspond one to one"
        )
    return list(zip(heard, played, strict=True))
