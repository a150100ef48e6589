"""The methods of Music-STAR's Table 1, by name: each file has a method's config, its model and its loss."""

from __future__ import annotations

from .method import Method
from .mixture_supervised import MixtureSupervised
from .recipe import Recipe

METHODS: dict[str, type[Method]] = {method.name: method for method in (MixtureSupervised,)}

__all__ = ["METHODS", "Method", "MixtureSupervised", "Recipe"]
