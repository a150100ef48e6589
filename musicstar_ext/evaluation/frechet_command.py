"""`evaluate frechet OUTPUTS GOLD`: how far a folder of translations is, as a set, from the true recordings."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

from .pair_command import add_cache_option

NAME = "musicstar_ext.evaluate"


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "frechet",
        help="compare a folder of translations with the true recordings as sets",
        description="Frechet distance (squared) between the musicnn embeddings of two folders of recordings (whose "
        "files need not match). Beside it, with --source, the distance of what was translated; and the distance of "
        "two halves of the true recordings, which is as near as sets of this size come.",
    )
    add = parser.add_argument
    add("outputs", type=Path, metavar="OUTPUTS", help="a folder of translations (folders in it count, too)")
    add("gold", type=Path, metavar="GOLD", help="a folder of true recordings")
    add("--source", type=Path, metavar="DIR", help="a folder of what was translated")
    add("--weights", type=Path, metavar="FILE", help="musicnn's, converted (the shipped ones)")
    add_cache_option(parser)
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    extra_module("torch", "train")
    for library in ("librosa", "sklearn"):
        extra_module(library)
    import numpy as np
    from tqdm import tqdm

    from musicstar_ext.cache import Cache
    from musicstar_ext.features.musicnn import Musicnn

    from .frechet import FEW, frechet_distance
    from .recording import read_recording
    from .set_embedding import audio_files, embed

    folders = {"output": options.outputs, "gold": options.gold}
    if options.source:
        folders["source"] = options.source
    files = {name: audio_files(folder) for name, folder in folders.items()}
    cache = Cache.chosen(options.cache)
    network = Musicnn.load(options.weights)
    sets: dict[str, list[Any]] = {name: [] for name in files}
    with tqdm(total=sum(map(len, files.values())), unit="file", disable=True if options.json else None) as bar:
        for name, paths in files.items():
            for path in paths:
                sets[name].append(embed(network, read_recording(path), cache))
                bar.update()
    patches = {name: sum(map(len, parts)) for name, parts in sets.items()}
    for name, count in patches.items():
        if count < FEW:
            print(
                f"{NAME}: {folders[name]}: {count} patches of 3 s are few (at least {FEW} are better): the distance "
                "says little",
                file=sys.stderr,
            )
    joined = {name: np.concatenate(parts) for name, parts in sets.items()}
    try:
        distances = {
            name: frechet_distance(embeddings, joined["gold"]) for name, embeddings in joined.items() if name != "gold"
        }
        halves = [np.concatenate(half) for half in (sets["gold"][::2], sets["gold"][1::2]) if half]
        if len(halves) == 2 and min(map(len, halves)) > 1:
            distances["gold halves"] = frechet_distance(*halves)
    except UserError as error:
        raise UserError(f"{options.outputs}, {options.gold}: {error}") from None
    if options.json:
        report = {"folders": {name: str(path) for name, path in folders.items()}, "patches": patches}
        print(json.dumps({**report, "frechet_distance": distances}, indent=2))
        return 0
    print("Frechet distance to gold (musicnn pool5, squared; lower is better)")
    for name, distance in distances.items():
        print(f"  {name:12} {distance:10.4f}   {patches.get(name, patches['gold'])} patches of 3 s")
    return 0
