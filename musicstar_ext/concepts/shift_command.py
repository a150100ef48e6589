"""`concepts shift`: how far a translation moves from the source's concepts to the target's."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from musicstar_ext.extras import extra_module


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "shift",
        help="how far a translation moves from the source's concepts to the target's",
        description="Measure a translation with learned concepts: the target's concept scores less the source's, "
        "before and after, and in the true recording where there is one.",
    )
    add = parser.add_argument
    add("concepts", type=Path, metavar="CONCEPTS", help="a file of `concepts learn`")
    add("source", type=Path, metavar="SOURCE", help="the recording that was translated")
    add("output", type=Path, metavar="OUTPUT", help="its translation")
    add("gold", type=Path, nargs="?", metavar="GOLD", help="the true recording")
    add("--from", dest="source_concepts", required=True, metavar="CONCEPT,...", help="the source's instruments")
    add("--to", dest="target_concepts", required=True, metavar="CONCEPT,...", help="the target's instruments")
    add("--extractor", metavar="NETWORK", help="that the concepts were learned on (as the file says)")
    add("--cache", type=Path, metavar="FOLDER", help="where features are kept (the user's cache folder)")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    extra_module("torch", "train")
    from musicstar_ext.cache import Cache
    from musicstar_ext.evaluation.recording import read_recording

    from .concept_file import load
    from .extractors import open_extractor
    from .listing import without_nan
    from .shift import ConceptShift

    concepts = load(options.concepts)
    extractor = open_extractor(options.extractor or str(concepts.details.get("opened_as", concepts.extractor)))
    measure = ConceptShift(concepts, extractor, _names(options.source_concepts), _names(options.target_concepts))
    source, output = read_recording(options.source), read_recording(options.output)
    gold = read_recording(options.gold) if options.gold else None
    found = measure.measure(source, output, gold, Cache.chosen(options.cache))
    if options.json:
        figures = {"before": found.before, "after": found.after, "gold": found.gold}
        print(json.dumps(without_nan({**figures, "shift": found.shift, "share": found.share}), indent=2))
    else:
        print(f"from {options.source_concepts} (-1) to {options.target_concepts} (1):")
        print(f"  before {found.before:+.3f}, after {found.after:+.3f}: a shift of {found.shift:+.3f}")
        if gold is not None:
            way = "" if math.isnan(found.share) else f", {found.share:.0%} of the way"
            print(f"  true recording {found.gold:+.3f}{way}")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
