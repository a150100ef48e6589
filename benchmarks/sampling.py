"""How many samples a second does the decoder draw?

    python benchmarks/sampling.py [--model NAME|PATH] [--lanes 1,8,16] [--threads 1,2] [--json] [--sweep]
    python benchmarks/sampling.py --device cuda [--nv-wavenet PROGRAM] [--lanes 1,8,64,256,512,1024]

The core in every precision (and, in fp32, on every instruction set), against five ways to do it in PyTorch, from the
naive one to the best we can write, interleaved in one run. Logits are compared before anything is timed. Samples a
second count all lanes; ratios are to the best eager PyTorch of the same lanes and threads; bounds: bounds.py. Without
--model: the paper's full size with random weights. --sweep instead shows how cost grows, in docs/growth.png. On a GPU:
cuda_sampling.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import _musicstar_core as core
import cuda_machine
import numpy as np
import torch
from bounds import PRECISIONS, decoder_bound, describe
from core_sampler import CoreSampler, check_core
from networks import decoder_of
from numpy.typing import NDArray
from pytorch_samplers import BASELINES, COMPILED, EAGER, NAIVE, TorchSampler
from report import Report, check_same, parser_of, run_benchmark, whole_numbers
from timing import QUICK, Effort, rates

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.nn import backend, build_network, load_weights
from musicstar_ext.runtime.gpus import named_gpu

EAGER_TOLERANCE = 1e-3  # of logits, relative to the largest one


class Sampler(NamedTuple):
    """Which sampler: "core" or a baseline's name, its instruction set ("torch" for a baseline), its precision."""

    name: str
    isa: str
    precision: str


def expected_logits(
    config: DecoderConfig, weights: Tensors, condition: torch.Tensor, codes: NDArray[np.uint8]
) -> torch.Tensor:
    """Logits [T, A] of codes [T] under one frame [1, C], by whole-sequence convolutions."""
    network = build_network(config)
    load_weights(network, weights)
    frames = condition[:, :, None].expand(-1, -1, -(-len(codes) // config.pool))
    with backend("torch"):
        logits: torch.Tensor = network(torch.from_numpy(codes)[None], frames)
    return logits[0].t()


def check_baseline(name: str, sampler: TorchSampler, codes: NDArray[np.uint8], expected: torch.Tensor) -> None:
    """A baseline's logits, step by step, equal the expected ones in its first lane.

    Raises:
        UserError: they do not.
    """
    inputs = torch.cat([torch.zeros(1), torch.from_numpy(codes[:-1]) / 255 - 0.5])
    found = torch.cat([sampler.step(value.repeat(sampler.lanes, 1))[:1] for value in inputs])
    largest = float(expected.abs().max())
    check_same(name, float((found - expected).abs().max()) / largest, EAGER_TOLERANCE)


@dataclass(frozen=True)
class Trial:
    """What is timed together: all samplers of one number of lanes and threads, checked; a call draws n steps."""

    lanes: int
    threads: int
    cases: dict[Sampler, Callable[[int], object]]


def prepare(config: DecoderConfig, weights: Tensors, lanes: int, threads: int, baselines: list[str]) -> Trial:
    """Build the samplers of a trial and check them.

    Raises:
        UserError: one does not give the expected logits.
    """
    torch.set_num_threads(threads)
    condition = np.random.default_rng(1).standard_normal((lanes, config.condition_channels)).astype(np.float32)
    frame = torch.from_numpy(condition)
    # Long enough that every ring has gone round.
    codes = np.random.default_rng(2).integers(0, 256, max(config.dilations) + 40).astype(np.uint8)
    expected = expected_logits(config, weights, frame[:1], codes)

    cases: dict[Sampler, Callable[[int], object]] = {}
    for name in baselines:
        sampler = BASELINES[name](config, weights, frame)
        if name != NAIVE:  # it is what `expected` is made with
            check_baseline(name, sampler, codes, expected)
        cases[Sampler(name, "torch", "fp32")] = sampler.sample
    isas = core.supported_isas()
    kinds = [(isa, "fp32") for isa in isas] + [(isas[-1], precision) for precision in PRECISIONS[1:]]
    for isa, precision in kinds:
        ours = CoreSampler(config, weights, condition, isa=isa, precision=precision, threads=threads)
        check_core(ours, isa, precision, codes, expected.numpy())
        cases[Sampler("core", isa, precision)] = ours
    return Trial(lanes, threads, cases)


def time_trial(report: Report, config: DecoderConfig, trial: Trial, effort: Effort) -> None:
    """Time all cases of a trial, interleaved, and report them."""
    torch.set_num_threads(trial.threads)
    found = rates(trial.cases, effort)
    eager = trial.lanes * found[Sampler(EAGER, "torch", "fp32")].median
    for case, rate in found.items():
        isa = core.supported_isas()[-1] if case.isa == "torch" else case.isa
        report.add(
            case.name,
            rate.times(trial.lanes),
            isa=case.isa,
            precision=case.precision,
            lanes=trial.lanes,
            threads=trial.threads,
            baseline=eager,
            bound=decoder_bound(config, case.precision, isa, trial.lanes, trial.threads),
        )


def time_all(report: Report, config: DecoderConfig, weights: Tensors, options: argparse.Namespace) -> None:
    """Prepare everything, which takes long, then measure the peaks and time: so they are of the same minute."""
    trials = []
    for threads in options.threads or ((1,) if options.quick else (1, 2)):
        for lanes in options.lanes or ((1, 3) if options.quick else (1, 8, 16)):
            left_out = set()
            if options.no_compile or options.quick or threads > 1:
                left_out.add(COMPILED)
            if lanes > 1 or threads > 1:
                left_out.add(NAIVE)
            baselines = [name for name in BASELINES if name not in left_out]
            trials.append(prepare(config, weights, lanes, threads, baselines))
    for line in describe(core.supported_isas()):
        report.say(line)
    for trial in trials:
        time_trial(report, config, trial, QUICK if options.quick else Effort())


def time_on_gpu(config: DecoderConfig, weights: Tensors, options: argparse.Namespace) -> None:
    """All samplers of a GPU, one number of lanes after the other."""
    from cuda_sampling import time_lanes

    gpu = named_gpu(options.device)
    report = Report("sampling", options, torch=torch.__version__, **cuda_machine.versions(gpu.index, gpu.name))
    with torch.inference_mode():
        for lanes in options.lanes or ((1, 9) if options.quick else (1, 8, 64, 256, 512, 1024)):
            effort = QUICK if options.quick else Effort(seconds=0.2)
            time_lanes(report, config, weights, gpu.index, lanes, options.nv_wavenet, effort)
    report.save()


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", help="a shipped model or a checkpoint; default: the paper's size, random weights")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument(
        "--nv-wavenet",
        type=Path,
        metavar="PROGRAM",
        help="with cuda: what build_nv_wavenet.sh has built, to compare with",
    )
    parser.add_argument("--lanes", type=whole_numbers, help="default 1,8,16; on a GPU 1,8,64,256,512,1024")
    parser.add_argument("--threads", type=whole_numbers, help="default 1,2")
    parser.add_argument(
        "--no-compile", action="store_true", help="without torch.compile, which takes a minute to start"
    )
    parser.add_argument("--sweep", action="store_true", help="how cost grows with lanes, channels, layers and threads")
    parser.add_argument(
        "--plot", type=Path, default=Path(__file__).parents[1] / "docs" / "growth.png", help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.sweep and options.device != "cpu":
        parser.error("--sweep is about the CPU")
    config, weights = decoder_of(options.model, options.quick)
    if options.device != "cpu":
        time_on_gpu(config, weights, options)
        return
    report = Report("sampling", options, torch=torch.__version__)
    with torch.inference_mode():
        if options.sweep:
            import growth

            growth.sweep(report, config, options.plot, options.quick)
        else:
            time_all(report, config, weights, options)
    report.save()


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
