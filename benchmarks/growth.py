"""How the sampler's cost grows with lanes, channels, layers and threads: what `sampling.py --sweep` runs and draws."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import _musicstar_core as core
import numpy as np
import torch
from bounds import PRECISIONS, decoder_bound
from core_sampler import CoreSampler
from networks import random_weights
from pytorch_samplers import EAGER, EagerSampler
from report import Report
from timing import QUICK, Effort, rates

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.errors import MissingExtraError

MANY_LANES = 16  # a thread, where lanes are not what is varied


@dataclasses.dataclass(frozen=True)
class Point:
    """One network, lanes and threads; `value` is its place on the axis of its question."""

    question: str
    value: int
    config: DecoderConfig
    lanes: int
    threads: int


def points(config: DecoderConfig, quick: bool) -> list[Point]:
    """What is varied, one at a time, around `config`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lane_counts = (1, 2) if quick else (1, 2, 4, 8, 16, 32, 64)
    widths = (8, 16) if quick else (32, 64, 128, 256)
    blocks = (1, 2) if quick else (1, 2, 4, 8)
    threads = sorted({1, min(2, cores)} | {count for count in (4, 8, 16, 32, 64) if count <= cores})

    def wide(channels: int) -> DecoderConfig:
        return dataclasses.replace(config, residual_channels=channels, skip_channels=channels)

    return [
        *(Point("lanes", lanes, config, lanes, 1) for lanes in lane_counts),
        *(Point("channels", channels, wide(channels), MANY_LANES, 1) for channels in widths),
        *(
            Point("layers", count * config.layers, dataclasses.replace(config, blocks=count), MANY_LANES, 1)
            for count in blocks
        ),
        *(Point("threads", count, config, MANY_LANES * count, count) for count in threads),
    ]


def sweep(report: Report, config: DecoderConfig, plot: Path, quick: bool) -> None:
    """Time every point in every precision, and the best eager PyTorch beside it; then draw them."""
    effort = QUICK if quick else Effort(seconds=0.04, rounds=3)
    isa = core.active_isa()
    for point in points(config, quick):
        torch.set_num_threads(point.threads)
        weights = random_weights(point.config)
        shape = (point.lanes, config.condition_channels)
        condition = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        eager = EagerSampler(point.config, weights, torch.from_numpy(condition))
        cases: dict[str, Callable[[int], object]] = {EAGER: eager.sample}
        for precision in PRECISIONS:
            cases[precision] = CoreSampler(
                point.config, weights, condition, isa=isa, precision=precision, threads=point.threads
            )
        found = rates(cases, effort)
        for name, rate in found.items():
            precision = "fp32" if name == EAGER else name
            report.add(
                f"{point.question}={point.value}" + (f" {EAGER}" if name == EAGER else ""),
                rate.times(point.lanes),
                isa="torch" if name == EAGER else isa,
                precision=precision,
                lanes=point.lanes,
                threads=point.threads,
                baseline=point.lanes * found[EAGER].median,
                bound=decoder_bound(point.config, precision, isa, point.lanes, point.threads),
                varied=point.question,
                value=point.value,
            )
    draw(report, plot)


def draw(report: Report, path: Path) -> None:
    """A panel for everything that was varied; the bounds dotted."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError("matplotlib", "eval") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {"fp32": "tab:blue", "bf16": "tab:orange", "int8": "tab:green", "torch": "tab:gray"}
    questions = list(dict.fromkeys(row["varied"] for row in report.rows))
    count = len(questions)
    figure, panels = pyplot.subplots(
        1, count, figsize=(3.5 * count, 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for panel, varied in zip(panels[0], questions, strict=True):
        rows = [row for row in report.rows if row["varied"] == varied]
        for line, colour in colours.items():
            ours = [row for row in rows if (row["isa"] == "torch") == (line == "torch")]
            mine = [row for row in ours if line in ("torch", row["precision"])]
            x = [row["value"] for row in mine]
            label = "PyTorch, best eager, fp32" if line == "torch" else line
            panel.plot(x, [row["samples_per_second"] for row in mine], "o-", color=colour, label=label, markersize=3)
            if line != "torch":
                panel.plot(x, [row["bound"] for row in mine], ":", color=colour)
        panel.axhline(16_000, color="black", linewidth=0.5)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(sorted({row["value"] for row in rows}), sorted({row["value"] for row in rows}))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        lanes = "1 thread" if varied == "lanes" else f"{MANY_LANES} lanes a thread"
        panel.set_xlabel(f"{varied} ({lanes})")
    panels[0, 0].set_ylabel("samples/s, all lanes")
    panels[0, 0].legend(fontsize="small")
    figure.suptitle("Dotted: the measured bound. Black: real time of one 16 kHz stream", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
    pyplot.close(figure)
    report.say(f"drawn: {path}")
