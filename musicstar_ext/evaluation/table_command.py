"""`evaluate table`: systems x measures over a test split or a folder of clips."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError
from musicstar_ext.guidance import guidance_argument
from musicstar_ext.shaping import shaping_argument

from .pair_command import add_cache_option


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "table",
        help="compare systems: the paper's Table 1, measured",
        description="Measure any number of systems on a material, both directions and their mean, with 95 % intervals, "
        "beside copy-input, the mu-law bound and the true recordings. Outputs and pitches are kept, so a run that was "
        "interrupted goes on where it was.",
    )
    add_material_options(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the files are written")
    parser.add_argument("--json", action="store_true", help="print the table's JSON and nothing else")
    parser.set_defaults(run=_run)


def add_material_options(parser: argparse.ArgumentParser) -> None:
    """What is compared on what, for `table` and `report`."""
    parser.add_argument(
        "material",
        type=Path,
        metavar="MATERIAL",
        help="a prepared set, or a folder of clips named NNN.S.wav as StarNet's",
    )
    parser.add_argument(
        "--system",
        action="append",
        default=[],
        metavar="NAME=WHERE",
        help="a folder with outputs, each where its true recording lies in MATERIAL; or CHECKPOINT[,CHECKPOINT], paths "
        "or shipped models' names, one a direction, which then translate here; may be repeated",
    )
    parser.add_argument("--split", default="test", help="of a prepared set (%(default)s)")
    parser.add_argument("--pieces", default="", metavar="A,B,...", help="only these pieces")
    parser.add_argument(
        "--style-model",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="network of `evaluate train-style`, for style in its target domain; one for each domain",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of translations (%(default)s)")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of translations (%(default)s)")
    parser.add_argument("--lanes", type=int, default=8, metavar="N", help="of translations (%(default)s)")
    parser.add_argument(
        "--guidance",
        type=guidance_argument,
        default="auto",
        metavar="auto|G",
        help="of translations: how closely decoders follow the code; auto is each model's own (%(default)s)",
    )
    parser.add_argument(
        "--shaping",
        type=shaping_argument,
        default="auto",
        metavar="auto|S",
        help="of translations: how far they are brought to the spectrum that the code tells, 0 to 1 (%(default)s)",
    )
    parser.add_argument("--precision", default="auto", help="of translations: auto, fp32, bf16 or int8 (%(default)s)")
    parser.add_argument("--device", default="auto", help="of translations (%(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="measuring processes (one a processor)"
    )
    add_cache_option(parser)


def measured_table(options: argparse.Namespace, quiet: bool = False) -> tuple[Any, Any, dict[str, Any]]:
    """The table that the options ask for, its material, and how it was made; outputs lie in OUTPUT/outputs.

    Raises:
        UserError: a bad option, material or system.
    """
    from musicstar_ext.cache import Cache
    from musicstar_ext.runtime.audio_writing import make_folder
    from musicstar_ext.runtime.options import check_options

    from .material import open_material
    from .systems import TranslationSettings, open_system
    from .table import build_table

    check_options(options.seed, options.temperature, options.lanes, "auto", options.guidance, options.shaping)
    if options.jobs < 1:
        raise UserError(f"--jobs must be at least 1, not {options.jobs}")
    pieces = [name for name in options.pieces.split(",") if name]
    material = open_material(options.material, options.split, pieces)
    settings = TranslationSettings(
        options.seed,
        options.temperature,
        options.lanes,
        options.precision,
        options.device,
        threads=0,
        guidance=options.guidance,
        shaping=options.shaping,
    )
    make_folder(options.output)
    systems = [open_system(text, material, options.output / "outputs", settings) for text in options.system]
    began = time.monotonic()
    table = build_table(
        material,
        systems,
        style_models=options.style_model,
        kept=Cache.chosen(options.cache),
        jobs=options.jobs,
        quiet=quiet,
    )
    made_by = {
        "seconds": round(time.monotonic() - began, 1),
        "seed": options.seed,
        "temperature": options.temperature,
        "lanes": options.lanes,
        "precision": options.precision,
        "guidance": options.guidance,
        "shaping": options.shaping,
        "style_models": [path.name for path in options.style_model],
    }
    return table, material, made_by


def _run(options: argparse.Namespace) -> int:
    import json

    from .table_files import to_json, to_markdown, write_table

    table, material, made_by = measured_table(options, quiet=options.json)
    paths = write_table(table, options.output, made_by, material.is_starnet)
    if options.json:
        print(json.dumps(to_json(table, made_by), indent=1))
        return 0
    print(to_markdown(table, made_by, material.is_starnet))
    print("written: " + ", ".join(map(str, paths)))
    return 0
