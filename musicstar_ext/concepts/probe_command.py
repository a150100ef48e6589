"""`concepts probe`: what the layers of translation models know of pitch and of timbre."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

from musicstar_ext.data.option_types import number, seed
from musicstar_ext.errors import UserError
from musicstar_ext.extras import extra_module

CONTROLS = ("log-mel", "musicnn")


def add_to(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "probe",
        help="what each layer of a translation model knows",
        description="Play short clips with sound fonts, and see how well pitch class, octave, register, interval, "
        "chord, instrument and family can be read from each layer of a model's encoders: with combinations and a sound "
        "font that the probes have not heard, beside log-mel spectrograms and musicnn.",
    )
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CHECKPOINT", help="a shipped name or a path")
    add("-o", "--output", type=Path, metavar="PREFIX", help="write PREFIX.md, .csv, .json and .png")
    add("--controls", default=",".join(CONTROLS), metavar="LIST", help="of %(default)s; none: no control")
    add("--mixture", metavar="STEM:PROGRAM,...", help="who plays the mixtures (the model's source, where known)")
    add("--size", type=_size, default=1.0, metavar="X", help="more or fewer clips of chords and mixtures (%(default)s)")
    add("--linear", action="store_true", help="linear probes only")
    add("--sound-font", type=Path, action="append", metavar="FILE", help="for training; may be repeated")
    add("--test-sound-font", type=Path, metavar="FILE", help="held out")
    add("--seed", type=seed, default=0, metavar="N", help="another seed, other clips (%(default)s)")
    add("--cache", type=Path, metavar="FOLDER", help="where clips and features are kept (the user's cache folder)")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    extra_module("sklearn", "concepts")
    extra_module("torch", "train")
    from musicstar_ext import checkpoints, models
    from musicstar_ext.atomic import write_atomically
    from musicstar_ext.cache import Cache
    from musicstar_ext.data.sound_fonts import choose_sound_fonts
    from musicstar_ext.data.synthesis import check_synthesizer
    from musicstar_ext.features.encoder_layers import EncoderLayers, encoder_names
    from musicstar_ext.runtime.audio_writing import check_writable

    from .bars import Bars
    from .extractors import open_extractor
    from .probe import PROBES, Reading, read_layers
    from .probe_report import draw, to_csv, to_json, to_markdown
    from .probe_set import plan_clips

    outputs = {}
    if options.output:
        outputs = {end: options.output.with_name(options.output.name + end) for end in (".md", ".csv", ".json", ".png")}
        for path in outputs.values():
            check_writable(path)
        extra_module("matplotlib")
    names = [name.strip() for name in options.controls.split(",") if name.strip() not in ("", "none")]
    if unknown := [name for name in names if name not in CONTROLS]:
        raise UserError(f"--controls: {unknown[0]!r} is none of {', '.join(CONTROLS)}")
    encoders: dict[str, EncoderLayers] = {}
    for text in options.checkpoints:
        path = models.find(text)
        checkpoint = checkpoints.load(path)
        found_names = encoder_names(checkpoint)
        if not found_names:
            raise UserError(f"{path}: has no encoder to probe")
        for name in found_names:
            encoder = EncoderLayers(checkpoint, name, path.stem)
            if encoder.name in encoders:
                raise UserError(f"{path}: another checkpoint is called {encoder.name!r} too")
            encoders[encoder.name] = encoder
    controls = [open_extractor(name) for name in names]
    fonts = choose_sound_fonts(options.sound_font, options.test_sound_font, {"test": 1.0})
    check_synthesizer()
    cache = Cache.chosen(options.cache)
    found: dict[str, list[Reading]] = {}
    with Bars(quiet=options.json) as bars:
        for name, encoder in encoders.items():
            players = _players(options.mixture, encoder.source)
            clips = plan_clips(fonts["train"], fonts["test"][0], players, options.size, options.seed)
            found[name] = []
            for extractor in (*controls[:1], encoder, *controls[1:]):
                layers = [layer for layer in extractor.layers if layer not in ("pool1", "pool2")]
                probes = PROBES[:1] if options.linear else PROBES
                found[name] += read_layers(clips, extractor, layers, cache, bars, probes, options.seed)
    if outputs:
        picture = io.BytesIO()
        draw(found, picture)
        write_atomically(outputs[".md"], to_markdown(found).encode())
        write_atomically(outputs[".csv"], to_csv(found).encode())
        write_atomically(outputs[".json"], json.dumps(to_json(found), indent=1).encode())
        write_atomically(outputs[".png"], picture.getvalue())
    print(json.dumps(to_json(found), indent=2) if options.json else to_markdown(found))
    return 0


def _players(mixture: str | None, source: str) -> dict[str, int]:
    """Who plays a mixture: as asked, else the stems of the track that an encoder hears, where they are known."""
    from musicstar_ext.data.instruments import DEFAULT_DOMAINS, parse_domain

    if mixture:
        stems = parse_domain(f"mixture={mixture}")[1]
    elif source in DEFAULT_DOMAINS:
        stems = DEFAULT_DOMAINS[source]
    else:
        try:
            stems = parse_domain(f"{source}={','.join(source.split('-'))}")[1]
        except UserError:  # names that are no instruments: no mixture is asked about
            return {}
    return {stem.stem: stem.program for stem in stems}


def _size(text: str) -> float:
    value = number(text)
    if not 0.1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be between 0.1 and 100, not {text}")
    return value
