"""The methods of Music-STAR's Table 1, by name: each file has a method's config, its model and its loss."""

from __future__ import annotations

from .mixture_supervised import MixtureSupervised

Method = MixtureSupervised
"""What the training loop trains: a module with `config`, `domains`, `tracks`, `initialise`, `loss` and `networks`."""

METHODS: dict[str, type[Method]] = {method.name: method for method in (MixtureSupervised,)}
