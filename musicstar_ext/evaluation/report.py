"""One HTML page that shows and plays a comparison: for each piece the source, every system's output and the true
recording side by side, each with its player, spectrogram and notes; then the table, and how all of it was made.

The page is self-contained: sounds (FLAC) and pictures are inside, so it can be sent as one file.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import soundfile
from tqdm import tqdm

from musicstar_ext._version import __version__
from musicstar_ext.atomic import write_atomically
from musicstar_ext.cache import Cache
from musicstar_ext.runtime.samples import Audio

from .material import Item, Material
from .pair import GOLD, MEASURES, SOURCE
from .pitch import multi_pitch, pitch_sets
from .recording import RATE, read_recording
from .report_pictures import picture
from .table import BASELINES, Table
from .table_files import SHORT

TEMPLATE = "report.html"
SHOWN = ("content", "style", "note_f", "log_spectral_distance")


@dataclass(frozen=True)
class Excerpt:
    """What of each piece is shown and played, in seconds."""

    start: float
    seconds: float

    def of(self, samples: Audio) -> Audio:
        first = min(round(self.start * RATE), max(0, len(samples) - RATE))  # at least the last second
        return samples[first : first + round(self.seconds * RATE)]


def write_report(
    path: Path,
    table: Table,
    material: Material,
    made_by: Mapping[str, Any],
    *,
    excerpt: Excerpt,
    kept: Cache,
    quiet: bool = False,
) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: a recording cannot be read, or the page cannot be written.
        MissingExtraError: essentia or matplotlib is not installed.
    """
    sections = list(
        tqdm(
            _sections(table, material, excerpt, kept),
            "pictures",
            len(material.items),
            unit="piece",
            disable=True if quiet else None,
        )
    )
    template = resources.files(__package__).joinpath(TEMPLATE).read_text()
    page = (
        template.replace("{{title}}", html.escape(table.description))
        .replace("{{pieces}}", "\n".join(sections))
        .replace("{{table}}", _table(table))
        .replace("{{how}}", _how(table, made_by))
    )
    write_atomically(path, page.encode())


def _sections(table: Table, material: Material, excerpt: Excerpt, kept: Cache) -> Iterator[str]:
    for item in material.items:
        key = (item.direction, item.piece)
        files = {"source": item.heard}
        files |= {name: made[key] for name, made in table.outputs.items() if key in made}
        files["true recording"] = item.gold
        yield _section(item, files, table, excerpt, kept)


def _section(item: Item, files: Mapping[str, Path], table: Table, excerpt: Excerpt, kept: Cache) -> str:
    key = (item.direction, item.piece)
    samples = {name: excerpt.of(read_recording(path)) for name, path in files.items()}
    sets = {name: pitch_sets(multi_pitch(audio, kept)) for name, audio in samples.items()}
    cards = []
    for name, audio in samples.items():
        is_gold = name == "true recording"
        row = GOLD if is_gold else SOURCE if name == "source" else name
        values = table.values.get(row, {}).get(key, {})
        image = picture(audio, sets[name], None if is_gold else sets["true recording"])
        cards.append(_card(name, item, audio, image, {} if is_gold else values))
    heading = f"{html.escape(item.piece)} <small>{html.escape(item.source)} → {html.escape(item.target)}</small>"
    return f'<section><h2>{heading}</h2><div class="cards">{"".join(cards)}</div></section>'


def _card(name: str, item: Item, audio: Audio, image: bytes, values: Mapping[str, float]) -> str:
    played = {"source": item.source, "true recording": item.target}.get(name, item.target)
    figures = "".join(
        f"<div><dt>{html.escape(SHORT.get(each, each))}</dt><dd>{values[each]:.3f}</dd></div>"
        for each in SHOWN
        if each in values
    )
    label = html.escape(f"{name}: {item.piece}, {played}")
    return (
        f'<figure class="{"given" if name in ("source", "true recording") else "output"}">'
        f"<figcaption><b>{html.escape(name)}</b> <span>{html.escape(played)}</span></figcaption>"
        f'<audio controls preload="none" aria-label="{label}" src="{_flac(audio)}"></audio>'
        f'<img alt="Spectrogram and pitches of {label}" src="{_data("image/png", image)}" loading="lazy">'
        f"<dl>{figures}</dl></figure>"
    )


def _flac(audio: Audio) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, RATE, format="FLAC", subtype="PCM_16")
    return _data("audio/flac", buffer.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _table(table: Table) -> str:
    measures = [name for name in SHORT if name in table.measures]
    head = _row("th", ["system", *(SHORT[name] for name in measures)], ' scope="col"')
    rows = [
        _row(
            "td",
            [BASELINES.get(name, name), *(str(table.interval(name, each)) for each in measures)],
            "",
            name in BASELINES,
        )
        for name in table.values
    ]
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _row(tag: str, cells: Sequence[str], attributes: str, is_baseline: bool = False) -> str:
    inner = "".join(f"<{tag}{attributes}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr{' class=baseline' if is_baseline else ''}>{inner}</tr>"


def _how(table: Table, made_by: Mapping[str, Any]) -> str:
    lines = [
        f"musicstar_ext {__version__}",
        *(f"{key}: {value}" for key, value in made_by.items() if value not in (None, [])),
    ]
    lines += [f"{MEASURES[name]} is shown as “{SHORT[name]}”" for name in table.measures if name in SHORT]
    lines += [f"not measured: {group}: {why}" for group, why in table.missing.items()]
    lines += table.warnings
    return "".join(f"<li>{html.escape(line)}</li>" for line in lines)
