"""What does a precision cost?  `python benchmarks/precision.py --clips DIR [--model NAME|PATH ...] [--draws N]`

Teacher-forced negative log-likelihood of real music under a trained model, in nats a sample: the source clip is
encoded, and the decoder scores every sample of the target clip given those before it. Encoder and decoder run in fp32,
bf16 and int8 (on a GPU, with --device cuda, in fp32 and bf16), each with each. `loss` is the difference to fp32, its
standard error over the clips beside it; all precisions score the same samples, so the music's own spread cancels.
`divergence` is the mean Kullback-Leibler divergence of the next sample's distribution from that of fp32: it cannot be
negative, so it shows what a lucky loss hides.

`another piece` decodes with the code of the next clip: how much the model's predictions owe to the code at all. What
the encoder's precision costs is only known from models where that is a lot.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import _musicstar_core as core
import numpy as np
import timing
from clips import encode, read_clips
from report import run_benchmark

from musicstar_ext import checkpoints, models
from musicstar_ext.checkpoints import Checkpoint
from musicstar_ext.errors import CommandParser
from musicstar_ext.runtime.gpus import named_gpu
from musicstar_ext.runtime.precision import PRECISIONS

BARS = {"fp32": 0.0, "bf16": 0.002, "int8": 0.01}  # nats a sample that a precision may cost
ANOTHER = "another piece"
ISAS = core.supported_isas()

Sampler = core.Sampler | core.CudaSampler
Case = tuple[str, str]  # the encoder's precision (or ANOTHER), and the decoder's


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = (logits - logits.max(-1, keepdims=True)).astype(np.float64)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def sampler_of(checkpoint: Checkpoint, lanes: int, precision: str, device: int | None) -> Sampler:
    """The decoder on the CPU, or on the GPU of that index."""
    sizes, weights = dataclasses.asdict(checkpoint.networks["decoder"]), checkpoint.weights["decoder"]
    if device is None:
        return core.Sampler(sizes, weights, lanes, precision=precision)
    return core.CudaSampler(sizes, weights, lanes, device, precision)


def score(
    checkpoint: Checkpoint, source: np.ndarray, target: np.ndarray, device: int | None
) -> dict[Case, tuple[np.ndarray, float]]:
    """{case: (nats a sample of each clip [clips], divergence from fp32)} of codes [clips, T]."""
    precisions = PRECISIONS if device is None else ("fp32", "bf16")
    frames = {precision: encode(checkpoint, source, precision, device) for precision in precisions}
    frames[ANOTHER] = np.roll(frames["fp32"], 1, axis=0)
    cases = [*itertools.product(precisions, precisions), (ANOTHER, "fp32")]  # fp32 with fp32 comes first
    samplers = {case: sampler_of(checkpoint, len(target), case[1], device) for case in cases}
    nats = {case: np.zeros(len(target)) for case in cases}
    divergence = dict.fromkeys(cases, 0.0)
    pool = checkpoint.networks["decoder"].pool
    count = target.shape[1] // pool
    for frame in range(count):  # all cases side by side, so that only one frame's logits are kept
        codes = np.ascontiguousarray(target[:, frame * pool : (frame + 1) * pool])
        exact = np.zeros(0)
        for case, sampler in samplers.items():
            condition = np.ascontiguousarray(frames[case[0]][:, frame : frame + 1])
            found = log_probabilities(sampler.score(condition, codes))
            exact = exact if len(exact) else found
            nats[case] -= np.take_along_axis(found, codes[:, :, None].astype(np.int64), 2).mean((1, 2)) / count
            divergence[case] += float((np.exp(exact) * (exact - found)).sum(-1).mean()) / count
    return {case: (nats[case], divergence[case]) for case in cases}


def agreeing_draws(checkpoint: Checkpoint, source: np.ndarray, count: int, device: int | None) -> dict[str, int]:
    """{instruction set: how many of `count` fp32 draws equal the scalar reference's}, from equal codes and uniforms."""
    sizes, weights = dataclasses.asdict(checkpoint.networks["decoder"]), checkpoint.weights["decoder"]
    condition = encode(checkpoint, source[:1])[0, : -(-count // sizes["pool"])].copy()
    uniforms = core.philox_uniforms(0, 0, 0, count)
    expected = core.ReferenceSampler(sizes, weights).sample(condition, uniforms)
    if device is None:
        samplers: dict[str, Sampler] = {isa: core.Sampler(sizes, weights, isa=isa) for isa in ISAS}
    else:
        samplers = {"cuda": core.CudaSampler(sizes, weights, 1, device, "fp32")}
    found = {isa: sampler.sample(condition[None], uniforms[None])[0] for isa, sampler in samplers.items()}
    return {isa: int((codes == expected).sum()) for isa, codes in found.items()}


def rows(
    checkpoint: Checkpoint, name: str, options: argparse.Namespace, device: int | None
) -> Iterator[dict[str, object]]:
    """One model's answers: a case each, then the draws."""
    source = read_clips(options.clips, checkpoint, "source", options.seconds)
    target = read_clips(options.clips, checkpoint, "target", options.seconds)
    length = min(source.shape[1], target.shape[1])
    source, target = source[:, :length], target[:, :length]
    about = {"model": name, "step": checkpoint.step, "clips": len(target), "samples": target.size}
    if options.draws:
        for isa, agreeing in agreeing_draws(checkpoint, source, options.draws, device).items():
            yield {"question": "draws", **about, "isa": isa, "draws": options.draws, "agreeing": agreeing}
    scores = score(checkpoint, source, target, device)
    exact, _ = scores["fp32", "fp32"]
    for (encoder, decoder), (nats, divergence) in scores.items():
        loss = nats - exact
        yield {
            "question": "precision",
            **about,
            "isa": core.active_isa() if device is None else "cuda",
            "encoder": encoder,
            "decoder": decoder,
            "nats": float(nats.mean()),
            "loss": float(loss.mean()),
            "loss_error": float(loss.std(ddof=1) / np.sqrt(len(loss))) if len(loss) > 1 else None,
            "divergence": divergence,
            "bar": None if encoder == ANOTHER else max(BARS[encoder], BARS[decoder]),
        }


def line(row: dict[str, object]) -> str:
    """A row for people."""
    if row["question"] == "draws":
        return f"fp32 draws on {row['isa']:11s}: {row['agreeing']:,} of {row['draws']:,} equal the reference's"
    loss, error, bar = row["loss"], row["loss_error"], row["bar"]
    text = f"encoder {row['encoder']:13s} decoder {row['decoder']}  {row['nats']:.5f} nats  loss {loss:+.5f}"
    text += "" if error is None else f" +-{error:.5f}"
    text += f"  divergence {row['divergence']:.1e}"
    return text if bar is None else f"{text}  {'within' if loss <= bar else 'OVER'} {bar}"


def main() -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--clips", type=Path, required=True, metavar="DIR", help="StarNet clips, NNN.0.wav and NNN.3.wav")
    add("--model", nargs="+", default=models.names(), metavar="NAME|PATH", help="default: every shipped model")
    add("--seconds", type=float, default=10.0, help="of each clip (%(default)s)")
    add("--draws", type=int, default=0, metavar="N", help="compare N fp32 draws with the reference's")
    add("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    add("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if not options.model:
        parser.error("no model ships with this installation: --model PATH")
    machine = timing.machine()
    device = None if options.device == "cpu" else named_gpu(options.device).index
    for name in options.model:
        checkpoint = checkpoints.load(models.find(name))
        if not options.json:
            where = core.active_isa() if device is None else options.device
            print(f"{name}, step {checkpoint.step}; {where}, commit {machine['commit']}")
        for row in rows(checkpoint, name, options, device):
            print(json.dumps({**row, **machine}) if options.json else f"  {line(row)}", flush=True)


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
