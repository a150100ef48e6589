"""`evaluate train-style`: train the triplet network that measures style, on a prepared set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

from .pair_command import add_cache_option


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train-style",
        help="train the network that measures style",
        description="Train the paper's triplet network, which `evaluate pair --style-model` measures style with, on a "
        "prepared set, and write it with a card beside it that says how well it tells styles apart.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="SET", help="a prepared set")
    add("--target", required=True, metavar="DOMAIN", help="whose style is to be recognised")
    add("--source", metavar="DOMAIN", help="what it is told from (where there are two domains: the other one)")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="a .safetensors file; the card is its .md")
    add("--epochs", type=int, default=10, metavar="N", help="as published: %(default)s")
    add("--batch", type=int, default=16, metavar="N", help="as published: %(default)s")
    add("--positive", choices=("same", "other"), default="same", help="same: the anchor itself, as published")
    add("--seed", type=int, default=0, metavar="N", help="another seed, another network (%(default)s)")
    add_cache_option(parser)
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    extra_module("torch", "train")
    extra_module("librosa")
    from tqdm import tqdm

    from musicstar_ext.atomic import write_atomically
    from musicstar_ext.cache import Cache
    from musicstar_ext.data.prepared import PreparedSet
    from musicstar_ext.runtime.audio_writing import check_writable

    from .style import SUFFIX
    from .style_training import StyleRecipe, card, train_style

    if options.output.suffix != SUFFIX:
        raise UserError(f"{options.output}: the network's name must end in {SUFFIX}")
    check_writable(options.output)
    recipe = StyleRecipe(epochs=options.epochs, batch=options.batch, positive=options.positive, seed=options.seed)
    prepared = PreparedSet.open(options.data)
    source = options.source or _other_domain(prepared, options.target)
    cache = Cache.chosen(options.cache)
    bars: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, leave=False, disable=True if options.json else None)
        bars[what].update(done - bars[what].n)

    try:
        model = train_style(prepared, options.target, source, recipe, cache, progress)
    finally:
        for bar in bars.values():
            bar.close()
    model.save(options.output)
    card_path = options.output.with_suffix(".md")
    write_atomically(card_path, card(options.output.stem, model.description).encode())
    if options.json:
        print(json.dumps({"file": str(options.output), "card": str(card_path), **model.description}, indent=2))
    else:
        _print(options.output, model.description)
    return 0


def _other_domain(prepared: Any, target: str) -> str:
    others = [domain for domain in prepared.domains if domain != target]
    if target in prepared.domains and len(others) == 1:
        return str(others[0])
    raise UserError(f"say with --source what {target!r} is told from: one of {', '.join(prepared.tracks)}")


def _print(path: Path, description: dict[str, Any]) -> None:
    held_out, data = description["held_out"], description["data"]
    print(
        f"{path}: {description['target']} told from {description['source']}, {data['segments']['train']} segments, "
        f"loss {description['losses'][-1]:.4f}"
    )
    figures = {name: "-" if value is None else f"{value:.3f}" for name, value in held_out.items()}
    print(
        f"held out ({data['segments']['validation']} segments): pair accuracy {figures['pair_accuracy']}; cosine to "
        f"gold: itself {figures['gold']}, other music of the target {figures['other_gold']}, "
        f"source {figures['source']}, noise {figures['noise']}"
    )
