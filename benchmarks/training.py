"""How long does a step of training take, and its parts: the two residual stacks, forward and backward?

    python benchmarks/training.py [--device cpu|cuda[:N]] [--sizes small,medium,full] [--threads 1,2] [--no-compile]

Our operations against plain PyTorch, interleaved in one run. On the CPU: ours in fp32 against eager PyTorch in fp32,
torch.compile in fp32 and, where the processor multiplies bf16, eager under autocast. On a GPU, all under bf16 autocast:
eager, torch.compile (max-autotune) and channels-last convolutions (cuDNN). Results and gradients are compared with
plain PyTorch in fp32 before anything is timed (on a GPU torch.compile's are not). Samples a second are of
teacher-forced audio; the ratio is to eager PyTorch, on the CPU in fp32, on a GPU in bf16; bounds: training_work.py,
from one product a tap, of which the CPU's stacks spare some (csrc/cpu/stack_pairs.h).
Sizes, with crops of so many samples on the CPU and on a GPU:

    small   32 channels, encoder 1x12 and decoder 2x10 layers (as the shipped models)    1 x 8000     16 x 16000
    medium  the same of 64 channels                                                      2 x 8000     16 x 16000
    full    the paper's: 128 channels, 4x14 and 4x10 layers                              1 x 16000    16 x 16000
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import cuda_machine
import torch
from memory import peak_bytes
from networks import TINY_DECODER, tiny_encoder
from report import Report, check_same, known, parser_of, run_benchmark, whole_numbers
from timing import QUICK, Effort, rates
from training_cases import COMPILED, EAGER, STEP, Case, Parts, cases_of, differences, expected_of, parts_of
from training_work import Work, bound, decoder_stack, element_bytes, encoder_stack, training_step

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.runtime.gpus import named_gpu

GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}  # norm of the difference over the norm, all gradients together
PARTS = ("stacks", "step")
CHECKED_ON = 4000  # samples of the crops that gradients are compared on, on a GPU


@dataclass(frozen=True)
class Size:
    """Networks and crops: batch x samples on the CPU, and on a GPU."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    crops: tuple[int, int]
    gpu_crops: tuple[int, int] = (16, 16_000)


def _of_channels(channels: int, crops: tuple[int, int]) -> Size:
    encoder = EncoderConfig(blocks=1, layers=12, channels=channels)
    return Size(encoder, DecoderConfig(blocks=2, layers=10, residual_channels=channels, skip_channels=channels), crops)


SIZES = {
    "small": _of_channels(32, (1, 8000)),
    "medium": _of_channels(64, (2, 8000)),
    "full": Size(EncoderConfig(), DecoderConfig(), (1, 16_000)),
    "tiny": Size(tiny_encoder("music-star"), TINY_DECODER, (2, 160), (2, 160)),
}


def device_named(text: str) -> torch.device:
    """'cpu', 'cuda' or 'cuda:1'.

    Raises:
        UserError: another name, or a GPU that the core or PyTorch cannot use.
    """
    return torch.device("cpu") if text == "cpu" else cuda_machine.find_gpu(named_gpu(text).index)


def check(cases: dict[str, Case], parts: Parts) -> dict[str, float]:
    """The relative difference of every case's gradients from plain PyTorch's in fp32: {case: difference}.

    Raises:
        UserError: one is too large.
    """
    errors = {}
    expected = expected_of(parts)
    for name, case in cases.items():
        if name == EAGER and case.precision == "fp32":
            errors[name] = 0.0  # this is what the others are compared with
            continue
        result, gradients = differences(case, expected)
        check_same(f"{name}: the result", result, GRADIENT_TOLERANCE[case.precision])
        check_same(f"{name}: the gradients", gradients, GRADIENT_TOLERANCE[case.precision])
        errors[name] = gradients
    return errors


def memory_of_steps(cases: dict[str, Case], device: torch.device) -> dict[str, float]:
    """Bytes that a training step takes at its peak, for each case: {case: bytes}, of torch.compile not.

    On the CPU before anything else is computed, as the core keeps buffers for the next time. On a GPU after a step
    that looks for algorithms; of what torch.compile replays there, PyTorch's allocator knows nothing.
    """
    found = {}
    for name, case in cases.items():
        if name != COMPILED:
            call = case.calls(STEP)
            if device.type == "cuda":
                call(1)
            found[name] = peak_bytes(lambda call=call: call(1), device)  # type: ignore[misc]
    return found


def works_of(size: Size, parts: tuple[str, ...]) -> dict[str, tuple[Work, int]]:
    """{part: its work, its layers (0 for the whole step)}, of PARTS."""
    encoder, decoder = size.encoder, size.decoder
    found = {}
    for what, backward in (("forward", False), ("forward and backward", True)) if "stacks" in parts else ():
        found[f"decoder stack, {what}"] = (decoder_stack(decoder, backward), len(decoder.dilations))
        found[f"encoder stack, {what}"] = (encoder_stack(encoder, backward), len(encoder.dilations))
    if "step" in parts:
        found[STEP] = (training_step(encoder, decoder), 0)
    return found


def time_size(report: Report, name: str, device: torch.device, threads: int, options: argparse.Namespace) -> None:
    """Check, time and report every case of one size and number of threads."""
    size = SIZES[name]
    clock = time.process_time if options.processor_time else time.perf_counter
    torch.set_num_threads(threads)
    batch, samples = size.crops if device.type == "cpu" else size.gpu_crops
    with_compile = not (options.no_compile or options.quick)
    cases, parts = _built(size, device, batch, samples, with_compile)
    memory = memory_of_steps(cases, device) if "step" in options.parts else {}
    if device.type == "cpu":
        errors = check(cases, parts)
    else:  # fp32 in plain PyTorch needs more memory than there is at this size; another size would be compiled anew
        errors = check(*_built(size, device, 2, CHECKED_ON // size.encoder.pool * size.encoder.pool, False))
    report.say(f"\n{name}, {batch} x {samples} samples, {threads} threads")
    for part, (work, layers) in works_of(size, options.parts).items():
        calls: dict[str, Callable[[int], object]] = {key: case.calls(part) for key, case in cases.items()}
        for key, call in calls.items():
            if key == COMPILED:
                call(3)  # it compiles, and records what it will replay
        found = rates(calls, QUICK if options.quick else _effort(name, device), clock)
        for key, rate in found.items():
            case = cases[key]
            samples_rate = rate.times(batch * samples)
            seconds = 1 / rate.median
            held = memory.get(key, math.nan) if part == STEP else math.nan
            moved = work.elements * element_bytes(case.precision) * samples_rate.median
            more = {
                "size": name,
                "part": part,
                "samples": samples,
                "milliseconds": round(1e3 * seconds, 3),
                "microseconds_a_layer": round(1e6 * seconds / layers, 2) if layers else None,
                "gflops": round(2e-9 * work.multiply_adds * samples_rate.median, 1),
                "gbytes_per_second": round(1e-9 * moved, 1),
                "peak_memory_mb": None if math.isnan(held) else round(held / 1e6, 1),
                "gradient_error": float(f"{errors[key]:.2g}") if key in errors else None,
                "clock": "processor" if options.processor_time else "wall",
            }
            report.add(
                f"{name}: {part}, {key}",
                samples_rate,
                isa=case.isa,
                precision=case.precision,
                lanes=batch,
                threads=threads,
                baseline=found[EAGER].median * batch * samples,
                bound=bound(work, case.precision, device, threads),
                device=str(device),
                **more,
            )
            layer = f", {more['microseconds_a_layer']:,.0f} us a layer" if layers else ""
            held_text = "" if math.isnan(held) else f", {held / 1e6:,.0f} MB"
            report.say(
                f"{'':30s} {more['milliseconds']:,.2f} ms{layer}, {more['gflops']:,.0f} GFLOP/s, "
                f"{more['gbytes_per_second']:,.0f} GB/s{held_text}"
            )
        report.save()  # what there is, should the rest take too long


def _built(
    size: Size, device: torch.device, batch: int, samples: int, with_compile: bool
) -> tuple[dict[str, Case], Parts]:
    parts = parts_of(size.encoder, size.decoder, device, batch, samples)
    return cases_of(parts, with_compile), parts


def _effort(name: str, device: torch.device) -> Effort:
    return Effort(seconds=0.3, rounds=5) if name != "full" or device.type == "cuda" else Effort(seconds=1, rounds=3)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--sizes", type=known(("small", "medium", "full")), help="default all; on a GPU small and full")
    parser.add_argument("--parts", type=known(PARTS), default=PARTS, help="default both: stacks,step")
    parser.add_argument("--threads", type=whole_numbers, help="on the CPU; default 1,2")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="one thread on a machine that others share: time it had, not passed",
    )
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which starts for minutes")
    options = parser.parse_args()
    device = device_named(options.device)
    if options.processor_time and (device.type == "cuda" or (options.threads or (1,)) != (1,)):
        parser.error("--processor-time is for one thread of a CPU")
    gpu = {}
    if device.type == "cuda":
        gpu = cuda_machine.versions(device.index or 0, torch.cuda.get_device_name(device))
    report = Report("training", options, torch=torch.__version__, **gpu)
    torch.backends.cudnn.benchmark = True
    sizes = ("tiny",) if options.quick else options.sizes or (("small", "full") if device.type == "cuda" else SIZES)
    threads = (1,) if options.quick or options.processor_time or device.type == "cuda" else (1, 2)
    for name in sizes:
        if name != "tiny" or options.quick:
            for count in options.threads or threads:
                time_size(report, name, device, count, options)


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
