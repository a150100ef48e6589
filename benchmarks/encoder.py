"""How many samples a second does the encoder read?

    python benchmarks/encoder.py [--kinds music-star,universal] [--threads 1,2] [--json]
    python benchmarks/encoder.py --device cuda [--kinds music-star,universal]

The core's streaming encoder in every precision, both kinds at the paper's size with random weights, against the same
layers as PyTorch convolutions (oneDNN) in fp32 and bf16, in whichever memory order is faster here. Frames are compared
before anything is timed. Ratios are to PyTorch in the same precision, or in fp32 where its bf16 is slower than that
(without AVX-512, by far); int8, which it does not have, is held against the same. On a GPU: cuda_encoder.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping

import _musicstar_core as core
import cuda_machine
import numpy as np
import torch
from bounds import PRECISIONS, describe, encoder_bound
from networks import full_encoder, random_weights, sizes, tiny_encoder
from pytorch_encoders import ConvolutionEncoder
from report import Report, check_same, known, parser_of, run_benchmark, whole_numbers
from timing import QUICK, Effort, rates

from musicstar_ext.architecture import EncoderConfig, EncoderKind
from musicstar_ext.checkpoints import Tensors
from musicstar_ext.nn import backend, build_network, load_weights
from musicstar_ext.runtime.gpus import named_gpu

BLOCK = 800  # samples of one push
KINDS: tuple[EncoderKind, ...] = ("music-star", "universal")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Root mean square of the difference from fp32, over that of the frames; random weights, up to 56 layers.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.1}


class CoreEncoder:
    """The streaming encoder in full swing; a call pushes n blocks.

    Deep layers wait for the samples that they look ahead to, so what they look at comes before the clock starts.
    """

    def __init__(self, config: EncoderConfig, weights: Tensors, precision: str, threads: int) -> None:
        self.encoder = core.Encoder(sizes(config), weights, threads, "", precision)
        self.block = np.random.default_rng(3).integers(0, 256, BLOCK).astype(np.uint8)

    def fill(self) -> None:
        """Push until every layer works on every block."""
        self(self.encoder.look_ahead // BLOCK + 2)

    def __call__(self, blocks: int) -> None:
        for _ in range(blocks):
            self.encoder.push(self.block)


def fastest_order(
    config: EncoderConfig, weights: Tensors, dtype: torch.dtype, codes: torch.Tensor
) -> ConvolutionEncoder:
    """Of conv1d and channels-last, the one that is faster on this machine."""
    candidates = [ConvolutionEncoder(config, weights, dtype, channels_last) for channels_last in (False, True)]

    def seconds(encoder: ConvolutionEncoder) -> float:
        encoder(codes)
        start = time.perf_counter()
        encoder(codes)
        return time.perf_counter() - start

    return min(candidates, key=seconds)


def check(config: EncoderConfig, weights: Tensors, baselines: Mapping[str, ConvolutionEncoder], samples: int) -> None:
    """Every precision of the core, and every baseline, gives the frames of the training module.

    Raises:
        UserError: one does not.
    """
    codes = np.random.default_rng(4).integers(0, 256, samples).astype(np.uint8)
    network = build_network(config)
    load_weights(network, weights)
    with backend("torch"):
        expected = network(torch.from_numpy(codes)[None])[0].t().numpy()

    def compare(name: str, precision: str, found: np.ndarray) -> None:
        difference = float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))
        check_same(name, difference, TOLERANCE[precision])

    for precision, encoder in baselines.items():
        compare(f"PyTorch {precision}", precision, encoder(torch.from_numpy(codes)).numpy())
    for precision in PRECISIONS:
        streaming = core.Encoder(sizes(config), weights, 1, "", precision)
        compare(f"core {precision}", precision, np.concatenate([streaming.push(codes), streaming.finish()]))


def repeated(encoder: ConvolutionEncoder, codes: torch.Tensor) -> Callable[[int], object]:
    """A case: a call encodes the codes n times."""
    return lambda count: [encoder(codes) for _ in range(count)]


def time_case(report: Report, config: EncoderConfig, threads: int, quick: bool) -> None:
    """One kind and number of threads: check, time, report."""
    torch.set_num_threads(threads)
    weights = random_weights(config)
    length = 800 if quick else 16_000  # of audio in one PyTorch call: a second
    codes = torch.from_numpy(np.random.default_rng(3).integers(0, 256, length).astype(np.uint8))
    baselines = {name: fastest_order(config, weights, dtype, codes[: length // 4]) for name, dtype in DTYPES.items()}
    if threads == 1:
        check(config, weights, baselines, 800 if quick else 4_000)

    cases: dict[str, Callable[[int], object]] = {}
    for name, encoder in baselines.items():
        cases[f"torch {name}"] = repeated(encoder, codes)
    for precision in PRECISIONS:
        ours = CoreEncoder(config, weights, precision, threads)
        ours.fill()
        cases[f"core {precision}"] = ours
    found = rates(cases, QUICK if quick else Effort(seconds=0.2, rounds=3))
    fp32 = found["torch fp32"].median
    fewer_bits = max(fp32, found["torch bf16"].median)
    for name, rate in found.items():
        owner, precision = name.split()
        order = "channels last" if owner == "torch" and baselines[precision].channels_last else "conv1d"
        report.add(
            f"{config.kind}, " + ("core" if owner == "core" else f"PyTorch {order}"),
            rate.times(BLOCK if owner == "core" else length),
            isa=core.active_isa() if owner == "core" else "torch",
            precision=precision,
            lanes=1,
            threads=threads,
            baseline=length * (fp32 if precision == "fp32" else fewer_bits),
            bound=encoder_bound(config, precision, core.active_isa(), threads),
        )


def time_on_gpu(options: argparse.Namespace) -> None:
    """All kinds on a GPU, one after the other."""
    from cuda_encoder import time_kind

    gpu = named_gpu(options.device)
    report = Report("encoder", options, torch=torch.__version__, **cuda_machine.versions(gpu.index, gpu.name))
    with torch.inference_mode():
        for kind in options.kinds:
            config = tiny_encoder(kind) if options.quick else full_encoder(kind)
            time_kind(report, config, gpu, QUICK if options.quick else Effort(seconds=0.2), options.quick)
    report.save()


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--kinds", type=known(KINDS), default=KINDS, help="default both: music-star,universal")
    parser.add_argument("--threads", type=whole_numbers, help="default 1,2")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    options = parser.parse_args()
    if options.device != "cpu":
        time_on_gpu(options)
        return
    report = Report("encoder", options, torch=torch.__version__)
    for line in describe([core.active_isa()]):
        report.say(line)
    with torch.inference_mode():
        for kind in options.kinds:
            for threads in options.threads or ((1,) if options.quick else (1, 2)):
                time_case(report, tiny_encoder(kind) if options.quick else full_encoder(kind), threads, options.quick)
    report.save()


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
