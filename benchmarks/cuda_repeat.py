"""Does the GPU's sampler draw what the equations draw, and the same each time?

    python benchmarks/cuda_repeat.py [--device cuda[:N]] [--times 100] [--draws 4000] [--lanes 1,8,512] [--quick]

First its fp32 draws, one by one, against the scalar reference's, from equal codes and uniforms: the shipped models, and
the paper's size with random weights. Then, in bf16, the same call again and again, on every kind of kernel that this
GPU has for the size: every sample of every lane must be the same each time. Nothing is timed. Runs on the emulated GPU,
too, with --quick. Exit status 2, and one line, where something differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import _musicstar_core as core
import numpy as np
from networks import TINY_DECODER, decoder_of, random_weights, sizes
from report import parser_of, run_benchmark, whole_numbers
from timing import machine

from musicstar_ext import models
from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.atomic import write_atomically
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.gpus import named_gpu

Row = dict[str, Any]
KERNELS = ("general", "layers", "layer-clusters")


def networks(quick: bool) -> Iterator[tuple[str, DecoderConfig, Tensors]]:
    """Name, sizes and weights of the decoders to try."""
    if quick:
        yield "tiny", TINY_DECODER, random_weights(TINY_DECODER)
        layered = DecoderConfig(
            blocks=1, layers=3, residual_channels=32, skip_channels=32, condition_channels=8, classes=256, pool=80
        )
        yield "tiny, 32 channels", layered, random_weights(layered)
        return
    for name in models.names():
        yield (name, *decoder_of(name, quick=False))
    yield "full size", DecoderConfig(), random_weights(DecoderConfig())


def condition_of(config: DecoderConfig, lanes: int, samples: int) -> np.ndarray:
    """[B, F, C] random frames for so many samples."""
    shape = (lanes, -(-samples // config.pool), config.condition_channels)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def agreement(name: str, config: DecoderConfig, weights: Tensors, device: int, draws: int) -> Row:
    """How many fp32 draws equal the reference's.

    Raises:
        UserError: not all.
    """
    condition = condition_of(config, 1, draws)
    uniforms = core.philox_uniforms(0, 0, 0, draws)
    expected = core.ReferenceSampler(sizes(config), weights).sample(condition[0], uniforms)
    sampler = core.CudaSampler(sizes(config), weights, 1, device, "fp32")
    found = sampler.sample(condition, uniforms[None])[0]
    same = int((found == expected).sum())
    if same != draws:
        first = int(np.argmax(found != expected))
        raise UserError(
            f"{name}: {same:,} of {draws:,} fp32 draws equal the reference's; number {first} is the first other"
        )
    return {"question": "draws", "network": name, "kernel": sampler.kernel, "draws": draws, "agreeing": same}


def repetition(
    name: str,
    config: DecoderConfig,
    weights: Tensors,
    device: int,
    kernels: str,
    lanes: int,
    options: argparse.Namespace,
) -> Row | None:
    """The same bf16 call many times; None where this GPU, or this size, has no such kernels.

    Raises:
        UserError: a sample differs.
    """
    try:
        sampler = core.CudaSampler(sizes(config), weights, lanes, device, "bf16", kernels)
    except (RuntimeError, ValueError):
        if kernels == "general":
            raise
        return None
    condition = condition_of(config, lanes, options.samples)
    uniforms = np.random.default_rng(2).random((lanes, options.samples), dtype=np.float32)
    expected = None
    for time in range(options.times):
        sampler.reset()
        found = sampler.sample(condition, uniforms)
        expected = found if expected is None else expected
        if not np.array_equal(found, expected):
            lane, sample = np.argwhere(found != expected)[0]
            raise UserError(
                f"{name}, {sampler.kernel}, {lanes} lanes: run {time} differs at sample {sample} of lane {lane}"
            )
    about = {"question": "repeat", "network": name, "kernel": sampler.kernel, "spread": sampler.description}
    return {**about, "lanes": lanes, "samples": options.samples, "times": options.times}


def rows(options: argparse.Namespace, device: int) -> Iterator[Row]:
    """All answers, one by one."""
    for name, config, weights in networks(options.quick):
        yield agreement(name, config, weights, device, options.draws)
        for kernels in KERNELS:
            for lanes in options.lanes:
                found = repetition(name, config, weights, device, kernels, lanes, options)
                if found is not None:
                    yield found


def line(row: Row) -> str:
    """A row for people."""
    if row["question"] == "draws":
        return (
            f"{row['network']}: {row['agreeing']:,} of {row['draws']:,} draws of {row['kernel']} equal the reference's"
        )
    return (
        f"{row['network']}: {row['times']} runs of {row['samples']:,} samples in {row['lanes']} lanes are the same "
        f"({row['kernel']}: {row['spread']})"
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="cuda", help="cuda (default) or cuda:N")
    parser.add_argument("--times", type=int, metavar="N", help="runs of the same call (100)")
    parser.add_argument("--draws", type=int, metavar="N", help="compared with the reference's (4000)")
    parser.add_argument("--samples", type=int, metavar="N", help="of a lane in each run (2000)")
    parser.add_argument("--lanes", type=whole_numbers, help="default 1,8,512")
    options = parser.parse_args()
    usual = {"times": 3, "draws": 60, "samples": 20, "lanes": (1, 9)} if options.quick else {}
    for name, value in {"times": 100, "draws": 4000, "samples": 2000, "lanes": (1, 8, 512), **usual}.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if not (2 <= options.times <= 100_000 and 1 <= options.draws <= 1_000_000 and 1 <= options.samples <= 1_000_000):
        raise UserError("--times must be from 2 to 100,000, --draws and --samples from 1 to 1,000,000")
    gpu = named_gpu(options.device)
    about = machine() | {"gpu": gpu.name, "build": core.cuda_build()}
    found = []
    for row in rows(options, gpu.index):
        found.append({**row, **about})
        print(json.dumps(found[-1]) if options.json else line(row), flush=True)
    if options.save is not None:
        write_atomically(options.save, ("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n").encode())


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
