"""One self-contained page on which the trees can be explored: no other file is needed, nothing leaves it.

The picture is drawn on a canvas (`page/view.js`): thousands of elements of an SVG would not stay fluid.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicstar_ext.atomic import write_atomically
from musicstar_ext.pages import assemble, script_json

from .cluster_colours import colours
from .concept_file import ConceptSet
from .hierarchy import ALGORITHMS, Hierarchies
from .hierarchy_audio import Examples, Heard
from .trees import ROOT

SCRIPTS = ("dom.js", "concepts.js", "layout.js", "view.js", "panel.js", "pointer.js", "search.js", "app.js")

LABELS = {
    "heymann": "Heymann",
    "spanning": "Spanning tree",
    "arborescence": "Arborescence",
    "agglomerative": "Agglomerative",
}


def write_page(
    path: Path,
    title: str,
    concepts: ConceptSet,
    found: Hierarchies,
    scores: Mapping[str, Mapping[str, Any]],
    clusters: Mapping[str, str],
    wanted: Examples,
    heard: Heard,
) -> None:
    """Write the page, whole or not at all.

    Args:
        title: of the page.
        scores: figures of each tree (`hierarchy_scores.score`).
        clusters: {concept: cluster}, of all, of some or of none.
        wanted: the tracks that are shown with each concept.
        heard: those that can be played.

    Raises:
        UserError: the file cannot be written.
    """
    names, cluster = cluster_order(concepts.names, clusters)
    shown = sorted({track for tracks in wanted for track, _ in tracks})
    number = {track: n for n, track in enumerate(shown)}
    counts = concepts.members.sum(axis=0, dtype=int).tolist()
    data = {
        "title": title,
        "about": f"{len(concepts.names)} concepts, learned from {len(concepts.tracks)} tracks in layer "
        f"{concepts.layer} of {concepts.extractor}.",
        "names": list(concepts.names),
        "accuracy": _figures(concepts.balanced_accuracy.tolist()),
        "auc": _figures(concepts.auc.tolist()),
        "counts": counts,
        "cluster": cluster,
        "clusters": [
            {"name": name, **colour._asdict()} for name, colour in zip(names, colours(len(names)), strict=True)
        ],
        "tracks": [{"name": concepts.tracks[track], "link": heard.links.get(track)} for track in shown],
        "examples": [[[number[track], round(score, 3)] for track, score in tracks] for tracks in wanted],
        "trees": [_tree(name, found, scores.get(name, {})) for name in found.trees],
    }
    # A script element each, which the browser only keeps as text until a track is played.
    sounds = [
        f'<script type="text/plain" id="audio-{number[track]}">{sound}</script>'
        for track, sound in heard.excerpts.items()
    ]
    page = assemble(
        __package__,
        SCRIPTS,
        title=html.escape(title),
        audio="\n".join(sounds),
        data=script_json(data, allow_nan=False, separators=(",", ":")),
    )
    # A lone surrogate in a track's name (a file name that is not UTF-8) cannot be encoded.
    write_atomically(path, page.encode("utf-8", "replace"))


def cluster_order(names: tuple[str, ...], clusters: Mapping[str, str]) -> tuple[list[str], list[int]]:
    """Clusters, the largest first, and the number of each concept's; -1 where it is not known."""
    counts = Counter(clusters[name] for name in names if name in clusters)
    order = sorted(counts, key=lambda cluster: (-counts[cluster], cluster))
    number = {cluster: n for n, cluster in enumerate(order)}
    return order, [number[clusters[name]] if name in clusters else -1 for name in names]


def _tree(name: str, found: Hierarchies, scores: Mapping[str, Any]) -> dict[str, Any]:
    parents = found.trees[name].parents.tolist()
    similarity = [
        None if parent == ROOT else round(float(found.firing[parent, child]), 3) for child, parent in enumerate(parents)
    ]
    return {
        "id": name,
        "label": LABELS[name],
        "what": ALGORITHMS[name],
        "parents": parents,
        "similarity": similarity,
        "scores": finite(scores),
    }


def finite(value: Any) -> Any:
    """The same with None for figures that are not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _figures(values: list[float]) -> list[float | None]:
    return [round(value, 4) if math.isfinite(value) else None for value in values]
