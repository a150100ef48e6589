"""`encoder.py --device cuda`: the core's encoder on a GPU against PyTorch's convolutions on the same GPU.

Both work on long stretches: the core's stream takes blocks of 32,768 samples, with the look-ahead filled beforehand, so
that every layer works on every block; PyTorch takes ten seconds at once, in whichever memory order is faster, eagerly
and as a CUDA graph. Frames are compared before anything is timed. Ratios are to eager PyTorch in the same precision;
the bound is the matrix product's peak alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import _musicstar_core as core
import bounds
import cuda_machine
import numpy as np
import torch
from networks import random_weights, sizes
from pytorch_encoders import ConvolutionEncoder
from report import Report, check_same
from timing import Effort, rates

from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.runtime.gpus import Gpu

BLOCK = 32_768  # samples of one push
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Root mean square of the difference from the CPU's fp32, over that of the frames; random weights, up to 56 layers.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05}


class CudaCoreEncoder:
    """The streaming encoder in full swing; a call pushes n blocks."""

    def __init__(self, config: EncoderConfig, weights: Tensors, gpu: Gpu, precision: str, block: int) -> None:
        self.encoder = core.CudaEncoder(sizes(config), weights, gpu.index, precision)
        self.block = np.random.default_rng(3).integers(0, 256, block).astype(np.uint8)

    def fill(self) -> None:
        """Push until every layer works on every block."""
        self(self.encoder.look_ahead // len(self.block) + 2)

    def __call__(self, blocks: int) -> None:
        for _ in range(blocks):
            self.encoder.push(self.block)


class EagerEncoder:
    """PyTorch's layers, one after the other; a call encodes n times and waits for the GPU."""

    def __init__(self, encoder: ConvolutionEncoder, codes: torch.Tensor) -> None:
        self.encoder, self.codes = encoder, codes

    def __call__(self, count: int) -> None:
        for _ in range(count):
            self.encoder(self.codes)
        if self.codes.is_cuda:
            torch.cuda.synchronize(self.codes.device)


class GraphEncoder:
    """The same layers captured once as a CUDA graph."""

    def __init__(self, encoder: ConvolutionEncoder, codes: torch.Tensor) -> None:
        self.device = codes.device
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(3):  # what is chosen or allocated once must not be captured
                encoder(codes)
        torch.cuda.current_stream(self.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.frames = encoder(codes)

    def __call__(self, count: int) -> None:
        for _ in range(count):
            self.graph.replay()
        torch.cuda.synchronize(self.device)


def time_kind(report: Report, config: EncoderConfig, gpu: Gpu, effort: Effort, quick: bool) -> None:
    """Check, time and report one kind of encoder."""
    weights = random_weights(config)
    place = torch.device("cuda", gpu.index) if torch.cuda.is_available() else torch.device("cpu")
    torch.backends.cudnn.benchmark = True  # PyTorch's best
    torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    block, length = (400, 400) if quick else (BLOCK, 160_000)
    codes = torch.from_numpy(np.random.default_rng(3).integers(0, 256, length).astype(np.uint8)).to(place)
    checked = np.random.default_rng(4).integers(0, 256, 2 * config.pool).astype(np.uint8)
    on_cpu = core.Encoder(sizes(config), weights)  # in fp32, which the tests hold to the reference
    expected = np.concatenate([on_cpu.push(checked), on_cpu.finish()])

    def compare(name: str, precision: str, found: np.ndarray) -> None:
        difference = float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))
        check_same(name, difference, TOLERANCE[precision])

    cases: dict[tuple[str, str, str], tuple[Callable[[int], object], int]] = {}
    for precision in DTYPES:
        ours = CudaCoreEncoder(config, weights, gpu, precision, block)
        found = np.concatenate([ours.encoder.push(checked), ours.encoder.finish()])
        compare(f"core {precision}", precision, found)
        ours.fill()
        cases["core", ours.encoder.kernel, precision] = ours, block
    for precision, dtype in DTYPES.items():
        baseline = fastest_order(config, weights, dtype, codes)
        compare(f"PyTorch {precision}", precision, baseline(torch.from_numpy(checked).to(place)).cpu().numpy())
        order = "channels last" if baseline.channels_last else "conv1d"
        cases["PyTorch eager", order, precision] = EagerEncoder(baseline, codes), length
        if place.type == "cuda":
            cases["PyTorch CUDA graph", order, precision] = GraphEncoder(baseline, codes), length

    found_rates = rates({case: call for case, (call, _) in cases.items()}, effort)
    samples = {case: rate.times(cases[case][1]) for case, rate in found_rates.items()}
    eager = {precision: rate.median for (name, _, precision), rate in samples.items() if name == "PyTorch eager"}
    for (name, kernels, precision), rate in samples.items():
        report.add(
            f"{config.kind}, {name}",
            rate,
            isa=kernels,
            precision=precision,
            lanes=1,
            threads=1,
            baseline=eager[precision],
            bound=cuda_machine.peak(place, precision) / bounds.encoder_multiply_adds(config),
            device=gpu.device,
        )


def fastest_order(
    config: EncoderConfig, weights: Tensors, dtype: torch.dtype, codes: torch.Tensor
) -> ConvolutionEncoder:
    """Of conv1d and channels-last, the one that is faster here."""
    candidates = [ConvolutionEncoder(config, weights, dtype, last, codes.device) for last in (False, True)]

    def seconds(encoder: ConvolutionEncoder) -> float:
        run = EagerEncoder(encoder, codes)
        run(2)
        start = time.perf_counter()
        run(2)
        return time.perf_counter() - start

    return min(candidates, key=seconds)
