"""How long does a recording take, from file to file?

    python benchmarks/translate.py [--cases full:3,small:3,small:30] [--threads 2] [--precision auto] [--device cuda]

Runs the translate command, in a process of its own, on synthetic stereo files of 44.1 kHz. A case is a model and a
length in minutes: `full` is the paper's size, `small` a network of the shipped models' size, both with random weights
(cost does not depend on them); anything else is a shipped model's name or a path. The ratio is the real-time factor,
start-up and both audio files included; memory is the largest that the process ever held. The encoder's share is timed
apart, on 20 s. On a GPU the bound is the matrix product's peak, which PyTorch measures.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from bounds import decoder_bound, decoder_multiply_adds, describe, encoder_bound, encoder_multiply_adds
from networks import TINY_DECODER, random_weights, tiny_encoder
from report import Report, check_same, parser_of, run_benchmark
from timing import Rate

from musicstar_ext import checkpoints, models
from musicstar_ext.architecture import DecoderConfig, EncoderConfig, NetworkConfig
from musicstar_ext.checkpoints import Branch, Checkpoint
from musicstar_ext.errors import UserError
from musicstar_ext.runtime.encoding import BLOCK, GPU_BLOCK, encode
from musicstar_ext.runtime.engine import Engine, choose_engine
from musicstar_ext.runtime.networks import SAMPLE_RATE, networks_of

FILE_RATE = 44_100
RANDOM: dict[str, tuple[EncoderConfig, DecoderConfig]] = {
    "full": (EncoderConfig(), DecoderConfig()),
    "small": (
        EncoderConfig(blocks=1, layers=12, channels=64),
        DecoderConfig(blocks=2, layers=10, residual_channels=64, skip_channels=64),
    ),
    "tiny": (tiny_encoder("music-star"), TINY_DECODER),
}

# Linux counts what a process held before it became another program, so a small process must start the command: this one
# runs its arguments and writes the largest memory of that child as the last line of its errors.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@dataclass(frozen=True)
class Case:
    """A model (a key of RANDOM, a shipped name or a path) and the minutes of its recording."""

    model: str
    minutes: float


def cases(text: str) -> tuple[Case, ...]:
    """'full:3,small:30' -> cases, for argparse."""
    found = []
    for part in text.split(","):
        model, _, minutes = part.rpartition(":")
        try:
            length = float(minutes)
        except ValueError:
            length = math.nan
        if not model or not 0 < length <= 600:
            raise argparse.ArgumentTypeError(f"{part!r} is not a model and up to 600 minutes, such as full:3")
        found.append(Case(model, length))
    return tuple(found)


def write_recording(path: Path, seconds: float) -> None:
    """Ten seconds of chords and a little noise, stereo, again and again."""
    t = np.arange(10 * FILE_RATE) / FILE_RATE
    root = 220.0 * 2 ** (np.floor(2 * t) % 12 / 12)  # a new one every half second
    phase = 2 * np.pi * np.cumsum(root) / FILE_RATE
    chord = np.sin(phase[:, None] * np.array([1.0, 1.25, 1.5])).mean(1)
    noise = np.random.default_rng(0).standard_normal((len(t), 2))
    block = 0.2 * chord[:, None] + 0.005 * noise
    left = round(seconds * FILE_RATE)
    with soundfile.SoundFile(path, "w", FILE_RATE, 2, subtype="PCM_16") as file:
        while left > 0:
            file.write(block[:left])
            left -= len(block)


def model_path(name: str, folder: Path) -> Path:
    """Where a case's model lies; random ones are written there first."""
    if name not in RANDOM:
        return models.find(name)
    encoder, decoder = RANDOM[name]
    path = folder / f"{name}.safetensors"
    if not path.exists():
        weights = {"encoder": random_weights(encoder), "decoder": random_weights(decoder)}
        domains = {"source": "strings-piano", "target": "clarinet-vibraphone"}
        branches = (Branch(*domains.values()),)
        levels = dict.fromkeys(domains.values(), -20.0)
        networks: dict[str, NetworkConfig] = {"encoder": encoder, "decoder": decoder}
        checkpoints.save(Checkpoint("mixture-supervised", networks, weights, domains, branches, levels), path)
    return path


@dataclass(frozen=True)
class Run:
    """One run of the command: what it reported, its wall seconds from start to exit, its largest memory in bytes."""

    summary: dict[str, Any]
    seconds: float
    peak_memory: int


def run_command_once(source: Path, target: Path, model: Path, engine: Engine) -> Run:
    """Translate in a process of its own.

    Raises:
        UserError: the command failed; its own line is repeated.
    """
    command = [sys.executable, "-m", "musicstar_ext.translate", str(source), "-o", str(target), "--model", str(model)]
    command += ["--precision", engine.precision, "--threads", str(engine.threads), "--device", engine.device, "--json"]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    errors = done.stderr.splitlines()
    if done.returncode != 0 or not errors:
        raise UserError(f"the translate command failed: {' '.join(errors[:-1])[-500:]}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Run(json.loads(done.stdout), seconds, int(errors[-1]) * unit)


def encoder_seconds(checkpoint: Checkpoint, engine: Engine, seconds: float) -> float:
    """Of the encoder alone, for a second of audio: measured on `seconds`, its look-ahead at the end included."""
    network = networks_of(checkpoint, engine).encoders["encoder"]
    audio = (0.1 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)
    start = time.perf_counter()
    for _ in encode([audio], network, lambda _: None, BLOCK if engine.gpu is None else GPU_BLOCK):
        pass
    return (time.perf_counter() - start) / seconds


def bound(encoder: EncoderConfig, decoder: DecoderConfig, engine: Engine, lanes: int) -> float:
    """Samples a second that the encoder and then the decoder could do at best."""
    if engine.gpu is None:
        precision, isa, threads = engine.precision, engine.isa, engine.threads
        both = 1 / encoder_bound(encoder, precision, isa, threads)
        both += 1 / decoder_bound(decoder, precision, isa, lanes, threads)
        return 1 / both
    import cuda_machine
    import torch

    place = torch.device("cuda", engine.gpu.index) if torch.cuda.is_available() else torch.device("cpu")
    return cuda_machine.peak(place, engine.precision) / (
        encoder_multiply_adds(encoder) + decoder_multiply_adds(decoder)
    )


def measure(report: Report, case: Case, folder: Path, engine: Engine, rounds: int, quick: bool) -> None:
    """Translate one case `rounds` times, check the result, report."""
    seconds = 60 * case.minutes
    source, target = folder / "recording.wav", folder / "translated.wav"
    write_recording(source, seconds)
    model = model_path(case.model, folder)
    runs = [run_command_once(source, target, model, engine) for _ in range(rounds)]
    heard = soundfile.info(target)
    check_same(f"{case.model}: the output's length", abs(heard.frames / heard.samplerate - seconds), 2 / SAMPLE_RATE)
    if not np.any(soundfile.read(target, frames=SAMPLE_RATE)[0]):
        raise UserError(f"{case.model}: the output is silent")

    checkpoint = checkpoints.load(model)
    encoder, decoder = checkpoint.networks["encoder"], checkpoint.networks["decoder"]
    assert isinstance(encoder, EncoderConfig)  # the command has run it
    assert isinstance(decoder, DecoderConfig)
    summary = runs[0].summary
    lanes = summary["lanes"]
    walls = sorted(run.seconds for run in runs)
    wall = walls[len(walls) // 2]
    spread = (walls[-1] - walls[0]) / 2 / wall if rounds > 1 else math.nan
    encoding = encoder_seconds(checkpoint, engine, 0.1 if quick else 20.0) * seconds
    memory = max(run.peak_memory for run in runs)
    report.add(
        f"{checkpoint_name(case.model)}, {case.minutes:g} min",
        Rate(seconds * SAMPLE_RATE / wall, spread),
        isa=summary["instruction_set"],
        precision=summary["precision"],
        lanes=lanes,
        threads=engine.threads,
        baseline=SAMPLE_RATE,
        bound=bound(encoder, decoder, engine, lanes),
        device=engine.device,
        audio_seconds=seconds,
        wall_seconds=round(wall, 2),
        peak_memory_mb=round(memory / 1e6, 1),
        encoder_share=round(encoding / wall, 3),
    )
    report.say(f"{'':30s} {wall:.1f} s wall, {memory / 1e6:.0f} MB at most, encoder {encoding / wall:.0%}")
    source.unlink()
    target.unlink()


def checkpoint_name(model: str) -> str:
    """A model's name for the table."""
    return f"{model} size" if model in RANDOM else Path(model).stem


def default_cases() -> Sequence[Case]:
    """Full size for 3 minutes; a small model, the shipped default where there is one, for 3 and for 30."""
    small = models.DEFAULT if models.DEFAULT in models.names() else "small"
    return Case("full", 3), Case(small, 3), Case(small, 30)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=cases, help="default: full:3, and the shipped model for 3 and 30 minutes")
    parser.add_argument("--threads", type=int, default=2, help="default 2")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or int8; default auto")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each case; default 1")
    options = parser.parse_args()
    if not 1 <= options.rounds <= 100:
        raise UserError(f"--rounds must be from 1 to 100, not {options.rounds}")
    engine = choose_engine(options.device, options.precision, options.threads)
    if engine.gpu is None:
        report = Report("translate", options, numpy=np.__version__)
        for line in describe([engine.isa]):
            report.say(line)
    else:
        import cuda_machine

        versions = cuda_machine.versions(engine.gpu.index, engine.gpu.name)
        report = Report("translate", options, numpy=np.__version__, **versions)
    quick = Case("tiny", 2 / 60 if engine.gpu is None else 0.05 / 60)  # an emulated GPU takes its time
    chosen = options.cases or ([quick] if options.quick else default_cases())
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen:
            measure(report, case, Path(folder), engine, options.rounds, options.quick)
    report.save()


if __name__ == "__main__":
    sys.exit(run_benchmark(main, __file__))
