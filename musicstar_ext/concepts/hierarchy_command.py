"""`concepts hierarchy CONCEPTS`: trees over learned concepts, how good they are, and pages to explore them."""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicstar_ext.errors import UserError

NAME = "musicstar_ext.concepts"
ALL = "all"


def add_to(subparsers: Any) -> None:
    from .hierarchy import ALGORITHMS
    from .undirected_trees import LINKAGES

    parser = subparsers.add_parser(
        "hierarchy",
        help="build a hierarchy of learned concepts",
        description="Arrange learned concepts in trees: the paper's algorithm (Heymann and Garcia-Molina on who fires "
        "on whose tracks) and three others beside it; measure the trees against known clusters, a known tree or "
        "another embedding; write a page to explore them.",
    )
    add = parser.add_argument
    add("concepts", type=Path, metavar="CONCEPTS", help="a file that `concepts learn` wrote")
    add("--algorithm", choices=(*ALGORITHMS, ALL), default=ALL, help="which tree (default: all four)")
    add("--every", action="store_true", help="take also concepts that did not pass the keep rule")
    add("--html", type=Path, metavar="PAGE", help="write one self-contained page to explore the trees")
    add("--figure", type=Path, metavar="FILE", help="draw a tree, with all of them the paper's (.png, .pdf, .svg)")
    add("-o", "--output", type=Path, metavar="CSV", help="write the trees: algorithm,child,parent,similarity,cosine")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    add("--title", metavar="TEXT", help="of page and figure")

    known = parser.add_argument_group("what the trees are compared with (those that CONCEPTS holds, by default)")
    known.add_argument("--clusters", type=Path, metavar="CSV", help="known clusters: concept,cluster")
    known.add_argument("--tree", type=Path, metavar="CSV", help="a known tree: child,parent")
    known.add_argument("--embedding", type=Path, metavar="FILE", help="another embedding (.csv: name,numbers; .npz)")
    known.add_argument("--distance", choices=("l2", "cosine"), default="l2", help="in the embedding (default: l2)")
    known.add_argument("--permutations", type=_whole(1), default=1000, metavar="N", help="of the tests (default: 1000)")

    page = parser.add_argument_group("the page's tracks")
    page.add_argument("--tracks", type=_whole(0), default=3, metavar="N", help="shown with a concept (default: 3)")
    page.add_argument(
        "--audio", choices=("embed", "link", "none"), default="embed", help="excerpts inside, links, or no sound"
    )
    page.add_argument("--audio-root", type=Path, metavar="DIR", help="where the tracks are (default: beside CONCEPTS)")
    page.add_argument(
        "--audio-seconds", type=_number(0.1, 60), default=4.0, metavar="S", help="of a track (default: 4)"
    )
    page.add_argument(
        "--audio-megabytes", type=_number(0, 2000), default=50.0, metavar="MB", help="of sound, at most (default: 50)"
    )

    how = parser.add_argument_group("parameters (the paper's by default)")
    how.add_argument("--edge-above", type=_number(0, 1), default=0.5, metavar="S", help="joined in the graph (0.5)")
    how.add_argument("--attach-above", type=_number(0, 1), default=0.2, metavar="S", help="goes below another (0.2)")
    how.add_argument("--most-children", type=_whole(1), default=20, metavar="N", help="of one concept (20)")
    how.add_argument("--join", choices=("either", "both"), default="either", help="directions that count (either)")
    how.add_argument("--when-full", choices=("root", "next"), default="root", help="the parent's place is then (root)")
    how.add_argument(
        "--sources", type=_whole(0), metavar="N", help="of betweenness, 0 for all (all up to 1,000 concepts, then 512)"
    )
    how.add_argument("--root-weight", type=_number(0, 1), default=0.2, metavar="S", help="of the arborescence (0.2)")
    how.add_argument("--linkage", choices=LINKAGES, default="average", help="of the agglomerative tree (average)")
    how.add_argument("--seed", type=_whole(0), default=0, metavar="N", help="of what is drawn at random (0)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from .concept_file import load
    from .heymann import HeymannConfig
    from .hierarchy import ALGORITHMS, HierarchyConfig, build
    from .hierarchy_figure import check_format, write_figure
    from .hierarchy_files import write_trees
    from .hierarchy_scores import score

    if options.figure:
        check_format(options.figure)  # before the work
    started = time.perf_counter()
    everything = load(options.concepts)
    concepts = everything if options.every else everything.kept_only()
    if len(concepts.names) < 2 <= len(everything.names):
        raise UserError(
            f"{options.concepts}: {len(concepts.names)} of its {len(everything.names)} concepts passed the keep rule; "
            "a hierarchy needs two (--every takes the others, too)"
        )
    reference = _reference(options, everything.names, concepts)
    config = HierarchyConfig(
        HeymannConfig(
            options.edge_above,
            options.attach_above,
            options.most_children,
            options.join,
            options.when_full,
            options.sources,
            options.seed,
        ),
        options.root_weight,
        options.linkage,
    )
    names = tuple(ALGORITHMS) if options.algorithm == ALL else (options.algorithm,)
    loaded = time.perf_counter()
    try:
        found = build(concepts, names, config)
    except UserError as error:
        raise UserError(f"{options.concepts}: {error}") from None
    _say(found.warnings())
    built = time.perf_counter()
    scores = score(found, reference, options.permutations)
    seconds = {"reading": loaded - started, **found.seconds, "scores": time.perf_counter() - built}
    title = options.title or f"Concepts of {concepts.extractor} {concepts.layer}"
    clusters = reference.cluster_of()
    if options.output:
        write_trees(options.output, concepts.names, found.trees, found.firing, found.cosine)
    if options.figure:
        with_what = f"{title}: {ALGORITHMS[names[0]]}"
        seconds["figure"] = _timed(
            lambda: write_figure(options.figure, concepts.names, found.trees[names[0]], clusters, with_what)
        )
    if options.html:
        seconds["page"] = _timed(lambda: _write_page(options, title, concepts, found, scores, clusters))
    seconds["total"] = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes, on Linux
    if options.json:
        from .hierarchy_page import finite

        report = {
            "concepts": len(concepts.names),
            "tracks": len(concepts.tracks),
            "joined_pairs": found.joined,
            "scores": scores,
            "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
            "memory_gb": round(memory, 3),
        }
        print(json.dumps(finite(report), indent=2))
        return 0
    print(f"{len(concepts.names)} concepts, {len(concepts.tracks)} tracks ({concepts.extractor} {concepts.layer})")
    print(_table(scores))
    print(
        "seconds: "
        + ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
        + f"; {memory:.2f} GB at most"
    )
    return 0


def _reference(options: argparse.Namespace, all_names: tuple[str, ...], concepts: Any) -> Any:
    from .hierarchy_files import read_clusters, read_embedding, read_tree, unknown_names
    from .hierarchy_scores import Reference
    from .trees import check_no_circle

    clusters, parents = concepts.clusters, concepts.parents
    if options.tree:
        parents = read_tree(options.tree)
        _say([unknown_names(options.tree, parents, all_names)])
    else:
        try:
            check_no_circle(parents)
        except UserError as error:
            raise UserError(f"{options.concepts}: {error}") from None
    if options.clusters:
        clusters = read_clusters(options.clusters)
        _say([unknown_names(options.clusters, clusters, all_names)])
    clusters = {name: clusters[name] for name in concepts.names if name in clusters}
    embedding = read_embedding(options.embedding, concepts.names) if options.embedding else None
    return Reference(concepts.names, clusters, parents, embedding, options.distance)


def _write_page(
    options: argparse.Namespace, title: str, concepts: Any, found: Any, scores: Any, clusters: dict[str, str]
) -> None:
    from .hierarchy_audio import Heard, embedded, examples, linked
    from .hierarchy_page import write_page

    wanted = examples(concepts, options.tracks)
    folders = [options.audio_root] if options.audio_root else [options.concepts.parent, Path()]
    if options.audio == "embed":
        most = round(options.audio_megabytes * 1e6)
        heard = embedded(concepts.tracks, wanted, folders, options.audio_seconds, most)
    elif options.audio == "link":
        heard = linked(concepts.tracks, wanted, folders, options.html)
    else:
        heard = Heard()
    _say(heard.warnings)
    write_page(options.html, title, concepts, found, scores, clusters, wanted, heard)


def _table(scores: dict[str, dict[str, Any]]) -> str:
    """What is known of each tree; columns that no tree has are left out."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "edges": lambda row: str(row.get("edges", "")),
        "at root": lambda row: str(row.get("at_root", "")),
        "depth": lambda row: str(row.get("depth", "")),
        "same cluster (chance, p)": lambda row: _share(row.get("same_cluster")),
        "edge P / R / F1 (chance, p)": lambda row: _agreement(row.get("edge")),
        "ancestor P / R / F1 (chance, p)": lambda row: _agreement(row.get("ancestor")),
        "distance": lambda row: _figure(row["proxy_distance"]) if "proxy_distance" in row else "",
    }
    cells = {title: [each(row) for row in scores.values()] for title, each in columns.items()}
    cells = {"": list(scores), **{title: values for title, values in cells.items() if any(values)}}
    widths = {title: max(len(title), *map(len, values)) for title, values in cells.items()}
    lines = ["  ".join(title.ljust(widths[title]) for title in cells).rstrip()]
    lines += ["  ".join(cells[title][n].ljust(widths[title]) for title in cells).rstrip() for n in range(len(scores))]
    return "\n".join(lines)


def _share(row: dict[str, float] | None) -> str:
    if row is None:
        return ""
    chance = f" ({_figure(row['chance'])}, {_figure(row['p'])})" if "chance" in row else ""
    return _figure(row["share"]) + chance


def _agreement(row: dict[str, float] | None) -> str:
    if row is None:
        return ""
    figures = " / ".join(_figure(row[name]) for name in ("precision", "recall", "f1"))
    return f"{figures} ({_figure(row['chance'])}, {_figure(row['p'])})"


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _say(lines: list[str]) -> None:
    for line in filter(None, lines):
        print(f"{NAME}: {line}", file=sys.stderr)


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _whole(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return whole_number


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least:g} to {most:g}")
        return value

    return number
