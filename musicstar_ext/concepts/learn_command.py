"""`concepts learn`: concept vectors from labelled tracks."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from musicstar_ext.data.option_types import number, seed, shares
from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

METHODS = ("logistic", "paper", "mean-difference")


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "learn",
        help="learn concept vectors from labelled tracks",
        description="Learn a linear probe for each concept on a network's features of the tracks, and write their "
        "vectors. DATA is a folder of folders (a folder a concept) or a CSV: track,concept[,cluster[,split]].",
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="a folder of folders, or a CSV")
    add("-o", "--output", type=Path, required=True, metavar="CONCEPTS", help="a .safetensors file")
    add("--extractor", default="musicnn", metavar="NETWORK", help="musicnn (default), log-mel, style:FILE, or a model")
    add(
        "--layer",
        action="append",
        metavar="LAYER",
        help="of the network; may be repeated: all are reported, the first makes the file (musicnn: pool5; of a "
        "model: code)",
    )
    add("--method", choices=METHODS, default="logistic", help="%(default)s is fast; paper: its protocol to the letter")
    add("--tree", type=Path, metavar="CSV", help="the known tree, child,parent: parents become the known clusters")
    add("--least-tracks", type=_count, default=39, metavar="N", help="that a concept needs (%(default)s)")
    add("--most-tracks", type=_count, default=250, metavar="N", help="that it may have; 0: any number (%(default)s)")
    add("--least-accuracy", type=number, default=0.70, metavar="A", help="that it is kept from (%(default)s)")
    add("--shares", type=shares, metavar="T,V,T", help="train, validation, test (0.7,0.1,0.2), where DATA say none")
    add("--seed", type=seed, default=0, metavar="N", help="another seed, another split (%(default)s)")
    add("--cache", type=Path, metavar="FOLDER", help="where features are kept (the user's cache folder)")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    extra_module("sklearn", "concepts")
    extra_module("torch", "train")
    from musicstar_ext.cache import Cache
    from musicstar_ext.features.extractor import check_layers
    from musicstar_ext.runtime.audio_writing import check_writable

    from .bars import Bars
    from .concept_file import SUFFIX, save
    from .extractors import open_extractor
    from .learn import Protocol, learn_concepts
    from .tracks import read_labels, read_tree

    if options.output.suffix != SUFFIX:
        raise UserError(f"{options.output}: the name must end in {SUFFIX}")
    check_writable(options.output)
    warnings: list[str] = []

    def warn(line: str) -> None:
        line = " ".join(line.splitlines())  # even where a concept's name holds line breaks
        warnings.append(line)
        print(f"warning: {line}", file=sys.stderr)

    parents = read_tree(options.tree) if options.tree else {}
    labels = read_labels(options.data, warn)
    for concept in labels.concepts:
        if concept in parents:
            labels.clusters.setdefault(concept, parents[concept])
    extractor = open_extractor(options.extractor)
    layers = list(dict.fromkeys(options.layer or [extractor.default_layer]))
    check_layers(extractor, layers)
    protocol = Protocol(
        learner=options.method,
        least_tracks=options.least_tracks,
        most_tracks=options.most_tracks,
        least_accuracy=options.least_accuracy,
        shares=tuple(options.shares.values()) if options.shares else Protocol.shares,
        seed=options.seed,
    )
    with Bars(quiet=options.json) as bars:
        concepts, found = learn_concepts(
            labels, extractor, layers, protocol, Cache.chosen(options.cache), warn, bars, parents
        )
    concepts = replace(concepts, details={**concepts.details, "opened_as": options.extractor})
    save(concepts, options.output)
    if options.json:
        print(json.dumps(_report(options.output, concepts, found, warnings), indent=2))
    else:
        _print(options.output, concepts, found)
    return 0


def _report(path: Path, concepts: Any, found: Any, warnings: list[str]) -> dict[str, Any]:
    from .listing import without_nan

    layers = {
        layer: [
            {
                "concept": one.concept,
                "tracks": one.tracks,
                "balanced_accuracy": list(one.accuracy),
                "auc": list(one.auc),
                "shuffled_balanced_accuracy": one.shuffled_accuracy,
            }
            for one in learned
        ]
        for layer, learned in found.items()
    }
    kept = [name for name, is_kept in zip(concepts.names, concepts.kept, strict=True) if is_kept]
    report = {"file": str(path), "extractor": concepts.extractor, "layers": layers, "kept": kept, "warnings": warnings}
    cleaned: dict[str, Any] = without_nan(report)
    return cleaned


def _print(path: Path, concepts: Any, found: Any) -> None:
    import numpy as np

    for layer, learned in found.items():
        print(f"\n{concepts.extractor}, {layer}: balanced accuracy and AUC on held-out tracks, 95 % intervals")
        width = max(len(one.concept) for one in learned)
        for one in sorted(learned, key=lambda one: -one.accuracy.value):
            figures = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in (one.accuracy, one.auc)]
            print(f"  {one.concept:{width}}  {one.tracks:5} tracks  {'  '.join(figures)}")
        accuracy, auc, control = (
            np.mean([getattr(one, name)[0] for one in learned])
            if name != "shuffled_accuracy"
            else np.mean([one.shuffled_accuracy for one in learned])
            for name in ("accuracy", "auc", "shuffled_accuracy")
        )
        kept = sum(one.accuracy.value > concepts.details["protocol"]["least_accuracy"] for one in learned)
        print(
            f"  mean of {len(learned)} concepts: {accuracy:.3f}, AUC {auc:.3f}; with shuffled labels {control:.3f}; "
            f"{kept} kept"
        )
    print(f"\n{path}: {len(concepts.names)} concepts, {int(concepts.kept.sum())} of them kept")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 10**9:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text}")
    return int(text)
