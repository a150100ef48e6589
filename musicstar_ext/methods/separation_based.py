"""The separation-based row of Table 1: Demucs takes the mixture apart, the single-instrument models play its stems.

It trains nothing of its own: its checkpoint holds the separator of one run, and the encoder and decoders of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicstar_ext.architecture import SeparatorConfig
from musicstar_ext.checkpoints import Branch, Checkpoint
from musicstar_ext.data.prepared import PreparedSet
from musicstar_ext.errors import UserError
from musicstar_ext.nn import Network, build_network, load_weights

from .direction import DirectionRecipe, corresponding_stems
from .method import Method
from .prerequisites import Prerequisite

if TYPE_CHECKING:
    from musicstar_ext.separation.network import SeparatorNetwork  # demucs is optional


@dataclass(frozen=True)
class SeparationBasedConfig(DirectionRecipe):
    """What is put together: `separator`, a checkpoint of demucs, and `single`, one of single-instrument."""

    separator: str = ""
    single: str = ""


class SeparationBased(Method):
    """A separator and the single-instrument models of its stems."""

    name = "separation-based"
    config_type = SeparationBasedConfig
    requires: ClassVar[dict[str, str]] = {"separator": "demucs", "single": "single-instrument"}
    trained = False

    def __init__(self, config: SeparationBasedConfig, domains: Mapping[str, list[str]]) -> None:
        super().__init__(config, domains)
        source, target = config.direction(domains)
        separator, single = (Prerequisite(key, getattr(config, key), made_by) for key, made_by in self.requires.items())
        pairs = corresponding_stems(domains, source, target)
        single.require_branches(pairs)
        network = separator.checkpoint.networks.get("separator")
        if not isinstance(network, SeparatorConfig):
            raise UserError(f"{separator.path}: has no separator")
        heard = [stem for stem, _ in pairs]
        if separator.checkpoint.domains.get("source") != source or set(network.sources) != set(heard):
            separated = f"{separator.checkpoint.domains.get('source')} into {', '.join(network.sources)}"
            raise UserError(f"{separator.path}: separates {separated}, not {source} into {', '.join(heard)}")
        self.config = config
        self.domains = {"source": source, "target": target}
        self.tracks = ()
        self.frame_samples = 1
        self._separator, self._single = separator.checkpoint, single.checkpoint
        known = {(branch.source, branch.target): branch for branch in self._single.branches}
        self._branches = tuple(known[pair] for pair in pairs)

    @classmethod
    def config_for(cls, config: SeparationBasedConfig, prepared: PreparedSet) -> SeparationBasedConfig:
        """The config itself.

        Raises:
            UserError: the single-instrument models were trained at another sample rate than the set's.
        """
        Prerequisite("single", config.single, cls.requires["single"]).require_rate(prepared.sample_rate)
        return config

    def initialise(self, code_counts: Mapping[str, NDArray[np.int64]]) -> None:
        """Nothing: the weights are those of the checkpoints."""

    def loss(self, crops: Mapping[str, Tensor]) -> Tensor:
        """None, as nothing is trained.

        Raises:
            UserError: always.
        """
        raise UserError(f"{self.name} has nothing of its own to train")

    def networks(self) -> dict[str, Network | SeparatorNetwork]:
        """The separator, and the networks that a branch names."""
        from musicstar_ext.separation.network import SeparatorNetwork

        whole = self.assembled()
        networks: dict[str, Network | SeparatorNetwork] = {}
        for name, config in whole.networks.items():
            if isinstance(config, SeparatorConfig):
                networks[name] = SeparatorNetwork(config)
            else:
                networks[name] = build_network(config)
            load_weights(networks[name], whole.weights[name])
        return networks

    def branches(self) -> tuple[Branch, ...]:
        """Stem to stem, as the single-instrument models do."""
        return self._branches

    def assembled(self) -> Checkpoint:
        """Both checkpoints in one; the mixture's level is that of the separator's training, a stem's of its model's."""
        separator, single = self._separator, self._single
        used = sorted({name for branch in self._branches for name in (branch.encoder, branch.decoder)})
        source = self.domains["source"]
        return Checkpoint(
            method=self.name,
            networks={"separator": separator.networks["separator"], **{name: single.networks[name] for name in used}},
            weights={"separator": separator.weights["separator"], **{name: single.weights[name] for name in used}},
            domains=self.domains,
            branches=self._branches,
            levels={**single.levels, **{track: level for track, level in separator.levels.items() if track == source}},
            sample_rate=single.sample_rate,
            training={
                "separator": {"step": separator.step, **separator.training},
                "single": {"step": single.step, **single.training},
            },
        )
