"""The methods of Music-STAR's Table 1, by name: each file has a method's config, its model and its loss."""

from __future__ import annotations

from .embedding_supervised import EmbeddingSupervised
from .method import Method
from .mixture_supervised import MixtureSupervised
from .recipe import Recipe
from .separation_based import SeparationBased
from .separator import DemucsSeparator
from .single_instrument import SingleInstrument
from .stem_supervised import StemSupervised
from .universal_network import UniversalNetwork

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        UniversalNetwork,  # not a row of Table 1, but what the first three build on
        SingleInstrument,
        DemucsSeparator,  # nor this one: separation-based builds on it
        SeparationBased,
        EmbeddingSupervised,
        StemSupervised,
        MixtureSupervised,
    )
}

__all__ = [
    "METHODS",
    "EmbeddingSupervised",
    "Method",
    "MixtureSupervised",
    "Recipe",
    "SingleInstrument",
    "StemSupervised",
    "UniversalNetwork",
]
