"""Networks of one kind, one for each stem."""

from __future__ import annotations

from collections.abc import ItemsView, Mapping
from typing import Generic, TypeVar

from torch import nn

from .decoder import WaveNetDecoder
from .encoder import MusicStarEncoder, UniversalEncoder

Network_ = TypeVar("Network_", WaveNetDecoder, MusicStarEncoder | UniversalEncoder)


class ByStem(nn.Module, Generic[Network_]):
    """{stem: network} as a module. Any name will do; `nn.ModuleDict` has no place for "keys", nor for a dot."""

    def __init__(self, networks: Mapping[str, Network_]) -> None:
        super().__init__()
        self._at = {stem: number for number, stem in enumerate(networks)}
        self.networks = nn.ModuleList(networks.values())

    def __getitem__(self, stem: str) -> Network_:
        return self.networks[self._at[stem]]  # type: ignore[return-value]

    def items(self) -> ItemsView[str, Network_]:
        """Stems and their networks, in the order given."""
        return {stem: self[stem] for stem in self._at}.items()

    def named(self, role: str) -> dict[str, Network_]:
        """The networks as a checkpoint names them: "decoder.clarinet" for the role "decoder"."""
        return {f"{role}.{stem}": network for stem, network in self.items()}
