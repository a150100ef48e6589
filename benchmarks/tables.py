"""The tables of docs/benchmarks.md, made from benchmarks/results by `python benchmarks/tables.py [--check]`.

Each kind stands between a pair of marks; what surrounds them is left as it is. The CPU engine has two: of a processor
with AVX-512 (sampling.json ...), and of one without (sampling-avx2.json ...). With --check nothing is written, and a
page whose tables are not those of the results is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import run_benchmark

from musicstar_ext.atomic import write_atomically
from musicstar_ext.errors import CommandParser, UserError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
ENGINE = ("sampling", "encoder", "translate")

Row = dict[str, Any]
Rows = list[Row]


def pick(rows: Iterable[Row], **wanted: Any) -> Rows:
    """The rows whose keys have the wanted values; `case` may be the start of one."""

    def fits(row: Row) -> bool:
        return all(row[key] == value or (key == "case" and row[key].startswith(value)) for key, value in wanted.items())

    return [row for row in rows if fits(row)]


def best(rows: Iterable[Row], **wanted: Any) -> Row:
    """The fastest of the rows that fit.

    Raises:
        UserError: there is none: the results are of another run than these tables are about.
    """
    found = pick(rows, **wanted)
    if not found:
        raise UserError(f"benchmarks/results: no row with {wanted}")
    return max(found, key=lambda row: row["samples_per_second"])


def table(head: str, lines: Iterable[str]) -> str:
    columns = head.count("|") + 1
    return "\n".join([f"| {head} |", "|" + "---|" * columns, *(f"| {line} |" for line in lines)]) + "\n"


def targets(results: dict[str, Rows]) -> str:
    """The goals of the CPU engine beside what this run measured."""
    core = pick(results["sampling"], case="core")
    lines = []

    def ratios(case: str, least: dict[str, float], find: Callable[[str], Row], unit: str = "x") -> None:
        for precision, goal in least.items():
            row = find(precision)
            eager = row["baseline"]
            ceiling = row["bound"] / eager
            lines.append(
                f"{case}, {precision} | {goal:g}{unit} | {row['ratio']:.1f}{unit} | {ceiling:.1f}{unit} "
                f"| {row['samples_per_second']:,.0f} | {row['share_of_bound']:.0%}"
            )

    ratios(
        "1 lane over eager", {"fp32": 8, "bf16": 15, "int8": 24}, lambda p: best(core, lanes=1, threads=1, precision=p)
    )
    for lanes in (8, 16):
        ratios(
            f"{lanes} lanes over eager",
            {"fp32": 6, "bf16": 12, "int8": 16},
            lambda p, lanes=lanes: best(core, lanes=lanes, threads=1, precision=p),  # type: ignore[misc]
        )
    ratios("AVX2, 1 lane over eager", {"fp32": 4}, lambda p: best(core, lanes=1, threads=1, isa="avx2", precision=p))
    encoder = pick(results["encoder"], case="music-star, core", threads=1)
    ratios("encoder over oneDNN", {"fp32": 2, "bf16": 4, "int8": 4}, lambda p: best(encoder, precision=p))
    full = best(results["translate"], case="full size")
    ratios("a file, full size, end to end, 2 threads", {full["precision"]: 4}, lambda _: full, " x real time")
    return table("one thread unless said | at least | measured | the bound allows | samples/s | of the bound", lines)


def threads(results: dict[str, Rows]) -> str:
    """Two threads over one, where both were timed."""
    core = pick(results["sampling"], case="core")
    lines = []
    for two in pick(core, threads=2):
        same = {key: two[key] for key in ("isa", "precision", "lanes")}
        for one in pick(core, threads=1, **same):
            ratio = two["samples_per_second"] / one["samples_per_second"]
            name = f"{two['lanes']} lanes, {two['isa']}, {two['precision']}"
            lines.append(f"{name} | {two['samples_per_second']:,.0f} | {ratio:.2f}x")
    return table("two threads | samples/s | over one", lines) if lines else ""


def sampling(results: dict[str, Rows]) -> str:
    """All samplers on one thread, a column for each number of lanes: samples a second, of the bound."""
    rows = pick(results["sampling"], threads=1)
    lanes = sorted({row["lanes"] for row in rows})
    kinds = dict.fromkeys((row["case"], row["isa"], row["precision"]) for row in rows)
    lines = []
    for case, isa, precision in kinds:
        cells = []
        for count in lanes:
            found = [r for r in pick(rows, lanes=count, isa=isa, precision=precision) if r["case"] == case]
            row = found[0] if found else None
            cells.append(f"{row['samples_per_second']:,.0f} ({row['share_of_bound']:.0%})" if row else "")
        name = f"core, {isa}, {precision}" if case == "core" else f"{case}, {precision}"
        lines.append(" | ".join([name, *cells]))
    return table("sampler, one thread | " + " | ".join(f"lanes {count}" for count in lanes), lines)


def encoder(results: dict[str, Rows]) -> str:
    """All encoders: samples a second, over PyTorch, of the bound."""
    return table(
        "encoder | precision | threads | samples/s | over PyTorch | of the bound",
        (
            f"{r['case']} | {r['precision']} | {r['threads']} | {r['samples_per_second']:,.0f} | {r['ratio']:.2f}x "
            f"| {r['share_of_bound']:.0%}"
            for r in results["encoder"]
        ),
    )


def translate(results: dict[str, Rows]) -> str:
    """Whole files."""
    return table(
        "file | precision | lanes | wall | real time | peak memory | encoder's share",
        (
            f"{r['case']} | {r['precision']} | {r['lanes']} | {r['wall_seconds']:.1f} s | {r['ratio']:.1f}x "
            f"| {r['peak_memory_mb']:.0f} MB | {r['encoder_share']:.0%}"
            for r in results["translate"]
        ),
    )


def training(results: dict[str, Rows]) -> str:
    """Ours beside the baselines: milliseconds, ratios, of the bound, memory."""
    lines = []
    rows = results["training"]
    for size, part, count in dict.fromkeys((r["size"], r["part"], r["threads"]) for r in rows):
        found = {r["case"].rpartition(", ")[2]: r for r in pick(rows, size=size, part=part, threads=count)}
        ours, eager, compiled = (found.get(name) for name in ("ours", "PyTorch eager", "torch.compile"))
        if ours is None or eager is None:
            raise UserError(f"benchmarks/results/training.json: {size}, {part} has no row of ours or of eager PyTorch")
        faster = f"{compiled['milliseconds'] / ours['milliseconds']:.1f}x" if compiled else ""
        memory = " | ".join(f"{r['peak_memory_mb']:,.0f}" if r["peak_memory_mb"] else "" for r in (ours, eager))
        lines.append(
            f"{size}, {part} | {count} | {ours['milliseconds']:,.1f} | {eager['milliseconds']:,.1f} "
            f"| {ours['ratio']:.1f}x | {faster} | {ours['share_of_bound']:.0%} | {memory}"
        )
    return table(
        "size, part | threads | ours, ms | eager, ms | over eager | over compiled | of bound | ours, MB | eager, MB",
        lines,
    )


@dataclass(frozen=True)
class Section:
    """What stands between a pair of marks: tables of the results of some benchmarks, `suffix` behind their names."""

    questions: tuple[str, ...]
    tables: tuple[Callable[[dict[str, Rows]], str], ...]
    suffix: str = ""

    def content(self) -> str:
        """
        Raises:
            OSError: a file of results cannot be read.
            UserError: one is of another run than these tables are about.
        """
        results: dict[str, Rows] = {
            name: json.loads((RESULTS / f"{name}{self.suffix}.json").read_text()) for name in self.questions
        }
        made = [machine(results[self.questions[0]][0]), *(part(results) for part in self.tables)]
        return "\n".join(part for part in made if part)


ENGINE_TABLES = (targets, threads, sampling, encoder, translate)
SECTIONS = {
    "tables": Section(ENGINE, ENGINE_TABLES),
    "tables avx2": Section(ENGINE, ENGINE_TABLES, "-avx2"),
    "training": Section(("training",), (training,)),
}


def machine(row: Row) -> str:
    """Where and with what a row was measured."""
    return (
        f"{row['processor']}, {row['system']}; Python {row['python']}, torch {row['torch']}, commit {row['commit']}.\n"
    )


def rewrite(document: str, name: str, content: str) -> str:
    """The document with other content between `<!-- name -->` and `<!-- end name -->`.

    Raises:
        UserError: it has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    before, found, rest = document.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise UserError(f"{DOCUMENT}: its marks {begin.strip()} and {end.strip()} are missing")
    return f"{before}{begin}\n{content}\n{end}{after}"


def main() -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    options = parser.parse_args()
    try:
        document = before = DOCUMENT.read_text()
        for name, section in SECTIONS.items():
            document = rewrite(document, name, section.content())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if not options.check:
        write_atomically(DOCUMENT, document.encode())
    elif document != before:
        raise UserError(f"{DOCUMENT}: not as benchmarks/results has it; run benchmarks/tables.py")


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
