"""`sampling.py --device cuda`: the core's persistent sampler against PyTorch and nv-wavenet on the same GPU.

Weights are the same for all, and all draw on the GPU. Each case is checked before it is timed: ours in fp32 gives the
logits of the training module, in bf16 (and PyTorch's baselines in bf16) distributions near to them, and nv-wavenet's
codes are those that its uniforms draw. A row counts all lanes; ratios are to eager PyTorch; the bound is the matrix
product's peak alone, which one lane's chain of dependent products can never come near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import _musicstar_core as core
import bounds
import cuda_machine
import numpy as np
import torch
from core_sampler import TOLERANCE, check_core, divergence, frames_touched
from cuda_samplers import BASELINES, EAGER, GRAPH, NvWavenet
from networks import sizes
from numpy.typing import NDArray
from pytorch_samplers import TorchSampler
from report import Report, check_same
from timing import Effort, rates

from musicstar_ext.architecture import DecoderConfig
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.nn import backend, build_network, load_weights

BASELINE_DIVERGENCE = 0.05  # nats a sample, of PyTorch wholly in bf16
PIECE = 50  # samples of all lanes that are scored at once
NV_WAVENET_LANES = 64  # the most that it is timed with: its blocks take lanes in turn


class CudaCoreSampler:
    """The core's sampler on a GPU under one condition frame [B, C]; a call draws n more samples in each lane."""

    def __init__(
        self, config: DecoderConfig, weights: Tensors, condition: NDArray[np.float32], device: int, precision: str
    ) -> None:
        self.condition, self.pool = condition, config.pool
        self.sampler = core.CudaSampler(sizes(config), weights, len(condition), device, precision)

    def __call__(self, count: int) -> None:
        self.sampler.draw(frames_touched(self.condition, self.pool, self.sampler.position, count), count, 0, 0)

    def score(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [T, A] of the first lane after a zero input, given codes [T] in every lane."""
        self.sampler.reset(0.0)
        lanes = np.repeat(codes[None], len(self.condition), axis=0)
        logits = []
        for first in range(0, len(codes), PIECE):
            piece = np.ascontiguousarray(lanes[:, first : first + PIECE])
            frames = frames_touched(self.condition, self.pool, first, piece.shape[1])
            logits.append(self.sampler.score(frames, piece)[0])
        return np.concatenate(logits)


@dataclass(frozen=True)
class GpuCase:
    """What is timed: its name, the kernels that run, its precision, samples of a lane in a unit, and the call."""

    name: str
    kernels: str
    precision: str
    unit: int
    call: Callable[[int], object]


def time_lanes(
    report: Report,
    config: DecoderConfig,
    weights: Tensors,
    device: int,
    lanes: int,
    nv_wavenet: Path | None,
    effort: Effort,
) -> None:
    """Check, time and report all samplers of one number of lanes."""
    condition = np.random.default_rng(1).standard_normal((lanes, config.condition_channels)).astype(np.float32)
    codes = np.random.default_rng(2).integers(0, config.classes, max(config.dilations) + 40).astype(np.uint8)
    gpu = torch.device("cuda", device) if torch.cuda.is_available() else torch.device("cpu")
    expected = expected_logits(config, weights, condition[:1], codes, gpu)
    cases = [*our_cases(config, weights, condition, device, codes, expected)]
    cases += pytorch_cases(config, weights, condition, gpu, codes, expected)
    other = None
    if nv_wavenet is not None and lanes <= NV_WAVENET_LANES:
        other = fastest_nv_wavenet(nv_wavenet, config, weights, condition)
        cases.append(GpuCase("nv-wavenet", "persistent", "fp16", other.samples, other.sample))
    found = rates({index: case.call for index, case in enumerate(cases)}, effort)
    if other is not None:
        other.close()
    steps = {index: rate.times(cases[index].unit * lanes) for index, rate in found.items()}
    eager = next(steps[index].median for index, case in enumerate(cases) if case.name == EAGER)
    multiply_adds = bounds.decoder_multiply_adds(config)
    for index, rate in steps.items():
        case = cases[index]
        report.add(
            case.name,
            rate,
            isa=case.kernels,
            precision=case.precision,
            lanes=lanes,
            threads=1,
            baseline=eager,
            bound=cuda_machine.peak(gpu, case.precision) / multiply_adds,
            device=f"cuda:{device}",
        )


@torch.inference_mode()
def expected_logits(
    config: DecoderConfig, weights: Tensors, condition: NDArray[np.float32], codes: NDArray[np.uint8], gpu: torch.device
) -> NDArray[np.float32]:
    """Logits [T, A] of codes [T] under one frame [1, C], by the training module's whole-sequence equations in fp32."""
    network = build_network(config)
    load_weights(network, weights)
    network.to(gpu)
    frames = torch.from_numpy(condition)[:, :, None].expand(-1, -1, -(-len(codes) // config.pool)).to(gpu)
    with backend("torch"):
        logits: torch.Tensor = network(torch.from_numpy(codes)[None].to(gpu), frames)
    return logits[0].t().cpu().numpy()


def our_cases(
    config: DecoderConfig,
    weights: Tensors,
    condition: NDArray[np.float32],
    device: int,
    codes: NDArray[np.uint8],
    expected: NDArray[np.float32],
) -> Iterator[GpuCase]:
    """The core in bf16; with one lane in fp32 as well, which is for checking and not made to be fast."""
    for precision in ("bf16", "fp32") if len(condition) == 1 else ("bf16",):
        ours = CudaCoreSampler(config, weights, condition, device, precision)
        kernels = ours.sampler.kernel
        check_core(ours, kernels, precision, codes, expected)
        ours.sampler.reset()
        yield GpuCase("core", kernels, precision, 1, ours)


def pytorch_cases(
    config: DecoderConfig,
    weights: Tensors,
    condition: NDArray[np.float32],
    gpu: torch.device,
    codes: NDArray[np.uint8],
    expected: NDArray[np.float32],
) -> Iterator[GpuCase]:
    """PyTorch in bf16 (on the CPU, where PyTorch sees no GPU, in fp32), checked in fp32 as well."""
    dtype = torch.bfloat16 if gpu.type == "cuda" else torch.float32
    for name in (EAGER, GRAPH) if gpu.type == "cuda" else (EAGER,):
        exact = _logits(BASELINES[name](config, weights, torch.from_numpy(condition[:1]).to(gpu)), codes)
        largest = float(np.abs(expected).max())
        check_same(f"{name}, fp32", float(np.abs(exact - expected).max()) / largest, TOLERANCE)
        frame = torch.from_numpy(condition).to(gpu, dtype)
        found = _logits(BASELINES[name](config, weights, frame[:1]), codes)
        check_same(name, divergence(expected, found), BASELINE_DIVERGENCE)
        precision = "bf16" if dtype == torch.bfloat16 else "fp32"
        yield GpuCase(name, "torch", precision, 1, BASELINES[name](config, weights, frame).sample)


def _logits(sampler: TorchSampler, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits [T, A] of one lane, step by step."""
    inputs = np.concatenate([[0.0], codes[:-1] / 255 - 0.5])
    like = sampler.before  # type: ignore[attr-defined]
    steps = [sampler.step(like.new_full((1, 1), value)).float().clone() for value in inputs.tolist()]
    return torch.cat(steps).cpu().numpy()


def fastest_nv_wavenet(
    program: Path, config: DecoderConfig, weights: Tensors, condition: NDArray[np.float32]
) -> NvWavenet:
    """nv-wavenet, checked, with as many lanes a block (1 to 4) as are fastest here."""
    best: tuple[float, int] | None = None
    for count in (1, 2, 3, 4):
        if len(condition) % count == 0:
            sampler = NvWavenet(program, config, weights, condition, count)
            try:
                sampler.check()
                found = rates({"run": sampler.sample}, Effort(seconds=0.2, rounds=3))["run"].median
            finally:
                sampler.close()
            best = max(best or (0.0, 0), (found, count))
    assert best is not None
    return NvWavenet(program, config, weights, condition, best[1])
